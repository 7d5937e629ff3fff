"""References of providers over HTTP: shown, found, and that of one payment, whoever comes at once."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import Any

import httpx
import pytest

from payment_life import PENDING, booked
from processes import Service

PROBLEM = {"Accept": "application/problem+json", "Accept-Language": "en"}
QRIS = {"method": "qris"}
_names: Iterator[int] = count(1)


@pytest.fixture
def reference() -> str:
    """A reference that no other test has: `!` and `~` are the first and the last of what may be in one."""
    return f"!R~{next(_names)}"


def payment(service: Service, payment_id: int) -> dict[str, Any]:
    shown: dict[str, Any] = service.http.get(f"/payments/{payment_id}").json()
    return shown


def problem(service: Service, refused: httpx.Response) -> dict[str, Any]:
    """Send a request that was refused again, and return the problem in English."""
    sent = refused.request
    again = service.http.request(sent.method, sent.url, content=sent.content, headers=PROBLEM)
    assert again.status_code == refused.status_code == 409
    said: dict[str, Any] = again.json()
    return said


def test_a_callback_that_comes_twice_is_told_which_payment_it_made(
    shared: Service, order_id: int, reference: str
) -> None:
    fields = QRIS | {"reference": reference}
    payment_id = booked(shared.pay(order_id, fields=fields, Idempotency_Key=f"{reference}-a"))
    again = shared.pay(order_id, fields=fields, Idempotency_Key=f"{reference}-b")
    assert again.json() == {"error": f"Referensi {reference} sudah dipakai pembayaran {payment_id}"}
    assert problem(shared, again) == {
        "type": "urn:payment:problem:reference-taken",
        "title": "Conflict",
        "status": 409,
        "detail": f"Reference {reference} is that of payment {payment_id} already",
        "payment_id": payment_id,
    }
    replayed = shared.pay(order_id, fields=fields, Idempotency_Key=f"{reference}-a")
    assert (replayed.status_code, replayed.headers["idempotency-replayed"]) == (201, "true")
    assert payment(shared, payment_id)["reference"] == reference


def test_a_settlement_by_callback_is_the_same_however_often_it_comes(
    shared: Service, order_id: int, reference: str
) -> None:
    payment_id = booked(shared.pay(order_id, fields=PENDING))
    paid = {"status": "paid", "reference": reference}
    path = f"/payments/{payment_id}"
    answers = [
        shared.http.patch(path, json=paid, headers={"Idempotency-Key": f"{reference}-{n}"}) for n in range(3)
    ]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["reference"] == reference
    other = shared.http.patch(path, json=paid | {"reference": "another"})
    assert other.json() == {"error": f"Referensi pembayaran {payment_id} adalah {reference}, bukan another"}
    assert problem(shared, other)["type"] == "urn:payment:problem:reference-differs"
    story = shared.http.get(f"{path}/events").json()["events"]
    assert [(each["type"], each["data"]["reference"]) for each in story] == [
        ("payment.created", None),
        ("payment.paid", reference),
    ]


def test_a_payment_that_somebody_settled_by_hand_gets_the_callbacks_reference(
    shared: Service, order_id: int, reference: str
) -> None:
    payment_id = booked(shared.pay(order_id, fields=PENDING))
    assert shared.settle(payment_id, "paid").json()["reference"] is None
    named = shared.http.patch(f"/payments/{payment_id}", json={"status": "paid", "reference": reference})
    assert named.json() == payment(shared, payment_id)
    assert named.json()["reference"] == reference
    (event,) = shared.http.get(
        "/events", params={"payment_id": payment_id, "type": "payment.referenced"}
    ).json()["events"]
    assert event["data"] == named.json()


def test_a_refund_has_the_reference_of_whoever_gives_back(
    shared: Service, order_id: int, reference: str
) -> None:
    payment_id = booked(shared.pay(order_id, fields=QRIS | {"reference": reference}))
    given = shared.refund(payment_id, {"amount": 5, "reference": reference})
    refund_id = given.json()["id"]
    assert given.json()["reference"] == reference
    again = shared.refund(payment_id, {"amount": 5, "reference": reference})
    assert again.json() == {
        "error": f"Referensi {reference} sudah dipakai pengembalian {refund_id} dari pembayaran {payment_id}"
    }
    told = problem(shared, again)
    assert told["type"] == "urn:payment:problem:refund-reference-taken"
    assert (told["payment_id"], told["refund_id"]) == (payment_id, refund_id)
    listed = shared.http.get(f"/payments/{payment_id}/refunds").json()["refunds"]
    assert [(each["amount"], each["reference"]) for each in listed] == [(5, reference)]


def test_payments_are_found_by_their_reference_those_that_failed_too(
    shared: Service, order_id: int, reference: str
) -> None:
    failed = booked(shared.pay(order_id, fields=PENDING | {"reference": reference}))
    shared.settle(failed, "failed")
    paid = booked(shared.pay(order_id, fields=QRIS | {"reference": reference}))

    def found(**asked: Any) -> list[int]:
        page = shared.http.get("/payments", params={"reference": reference} | asked).json()
        return [each["id"] for each in page["payments"]]

    assert found() == [paid, failed]
    assert (found(status="failed"), found(method="cash"), found(user_id=404)) == ([failed], [], [])
    assert found(reference=reference.lower()) == []
    page = shared.http.get("/payments", params={"reference": reference, "limit": 1}).json()
    assert found(cursor=page["next_cursor"], limit=1) == [failed]
    file = shared.http.get("/payments", params={"reference": reference}, headers={"Accept": "text/csv"})
    assert [line.split(",")[9] for line in file.text.splitlines()] == ["reference", reference, reference]
    for wrong in ("", "x" * 65, "a b", "é"):
        refused = shared.http.get("/payments", params={"reference": wrong})
        assert (refused.status_code, refused.json()) == (400, {"error": "reference tidak sah"})


@pytest.mark.parametrize("wrong", ["", "x" * 65, "a b", "a\n", "é", 7, None, ["R"], True], ids=repr)
def test_what_is_no_reference_is_refused_by_its_name(shared: Service, order_id: int, wrong: Any) -> None:
    payment_id = booked(shared.pay(order_id, fields=PENDING))
    body = {"reference": wrong}
    for refused in (
        shared.pay(order_id, fields=body),
        shared.http.patch(f"/payments/{payment_id}", json={"status": "paid"} | body),
        shared.refund(payment_id, body),
    ):
        assert (refused.status_code, refused.json()) == (
            400,
            {"error": "reference harus 1 sampai 64 karakter ASCII yang terlihat"},
        )
    assert payment(shared, payment_id)["status"] == "pending"


def test_of_eight_callbacks_in_two_processes_one_books_and_all_others_are_told(
    start: Callable[..., Service], rounds: range
) -> None:
    """For orders of their own, so that only the reference stands in their way; others come beside them."""
    processes = [start("serve", "--no-worker", BOOK_UNREAD=unread) for unread in ("always", "never")]
    with ThreadPoolExecutor(12) as pool:
        for number in rounds:
            calls = [
                partial(processes[n % 2].pay, 100 * number + n, fields=QRIS | {"reference": f"R-{number}"})
                for n in range(8)
            ] + [
                partial(processes[n % 2].pay, 100 * number + n, fields=QRIS | {"reference": f"{number}-{n}"})
                for n in range(8, 12)
            ]
            answers = list(pool.map(lambda call: call(), calls))
            assert Counter(each.status_code for each in answers[:8]) == {201: 1, 409: 7}
            assert {each.status_code for each in answers[8:]} == {201}
            (payment_id,) = (each.json()["payment_id"] for each in answers[:8] if each.status_code == 201)
            told = {each.json()["error"] for each in answers[:8] if each.status_code == 409}
            assert told == {f"Referensi R-{number} sudah dipakai pembayaran {payment_id}"}
    for process in processes:
        assert not [line for line in process.log() if line["level"] == "error"]
