"""A payment's whole life over real HTTP: settled later, shared bills, refunds, expiry, who hears of it."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from itertools import count
from threading import Barrier
from typing import Any

import httpx
import pytest

from conftest import ALSO_POOLED
from processes import Service, Stub, wait_for

Start = Callable[..., Service]
MAX = 2**53 - 1
UNKNOWN = 999_999
WHOLE = f"harus bilangan bulat dari 1 sampai {MAX}"
PENDING = {"status": "pending", "method": "qris"}
_orders: Iterator[int] = count(1_000)


@pytest.fixture
def order_id() -> int:
    """An order that no other test pays."""
    return next(_orders)


def booked(answer: httpx.Response) -> int:
    assert answer.status_code == 201, answer.text
    payment_id: int = answer.json()["payment_id"]
    return payment_id


def status_of(service: Service, payment_id: int) -> tuple[str, int]:
    payment = service.http.get(f"/payments/{payment_id}").json()
    return payment["status"], payment["amount_refunded"]


def bill_of(service: Service, order_id: int) -> tuple[int, int, int, int, bool]:
    """Return total, paid, pending, remaining, settled."""
    bill = service.http.get(f"/bills/{order_id}").json()
    assert list(bill) == ["order_id", "total", "paid", "pending", "remaining", "settled"]
    assert bill["order_id"] == order_id
    return bill["total"], bill["paid"], bill["pending"], bill["remaining"], bill["settled"]


def puts(stub: Stub, target_id: int) -> list[str]:
    """Return the states that a neighbour was told, in order."""
    return [put["status"] for put in stub.received(target_id)]


def told(stub: Stub, target_id: int, status: str, within_s: float = 10.0) -> None:
    """Wait until the neighbour knows."""
    wait_for(lambda: stub.states().get(target_id) == status, within_s, f"{stub.name} {target_id}: {status}")


def nothing_waits(service: Service) -> None:
    """Wait until everybody was told of everything."""
    wait_for(service.has_told_all)


# --- pending, settled, expired -----------------------------------------------------------------------


def test_a_payment_waits_then_is_paid_and_both_hear_each(start: Start, order: Stub, user: Stub) -> None:
    service = start()
    payment_id = booked(service.pay(7, user_id=9, fields=PENDING))
    told(order, 7, "pending")
    told(user, 9, "pending")
    assert bill_of(service, 7) == (20_000, 0, 20_000, 0, False)

    settled = service.settle(payment_id, "paid")
    assert settled.status_code == 200
    told(order, 7, "paid")
    told(user, 9, "paid")
    assert bill_of(service, 7) == (20_000, 20_000, 0, 0, True)

    payment = settled.json()
    assert service.http.get(f"/payments/{payment_id}").json() == payment
    assert list(payment) == [
        *("id", "order_id", "user_id", "amount", "status", "method"),
        *("amount_refunded", "created_at", "updated_at"),
    ]
    assert (payment["status"], payment["method"], payment["amount_refunded"]) == ("paid", "qris", 0)
    assert datetime.fromisoformat(payment["created_at"]) < datetime.fromisoformat(payment["updated_at"])
    nothing_waits(service)
    assert puts(order, 7) == puts(user, 9) == ["pending", "paid"]


def test_a_payment_that_failed_frees_its_order(start: Start, order: Stub, user: Stub) -> None:
    service = start()
    payment_id = booked(service.pay(7, user_id=9, fields=PENDING))
    assert service.settle(payment_id, "failed").json()["status"] == "failed"
    told(order, 7, "failed")
    told(user, 9, "failed")
    assert bill_of(service, 7) == (20_000, 0, 0, 20_000, False)
    booked(service.pay(7, user_id=9, amount=15_000))
    told(order, 7, "paid")
    told(user, 9, "paid")
    assert bill_of(service, 7) == (15_000, 15_000, 0, 0, True)


def test_settling_again_changes_nothing_and_tells_nobody(start: Start, order: Stub, user: Stub) -> None:
    service = start()
    payment_id = booked(service.pay(7, user_id=9, fields=PENDING))
    first = service.settle(payment_id, "paid")
    nothing_waits(service)
    again = service.settle(payment_id, "paid")
    assert (again.status_code, again.content) == (200, first.content)
    assert "idempotency-replayed" not in again.headers
    assert nobody_hears_after(service, order, user, 7, 9)


def nobody_hears_after(service: Service, order: Stub, user: Stub, order_id: int, user_id: int) -> bool:
    """Say whether these were told nothing by the time others have heard of something later."""
    before = puts(order, order_id), puts(user, user_id)
    booked(service.pay(555_555, user_id=555_555))
    told(order, 555_555, "paid")
    told(user, 555_555, "paid")
    nothing_waits(service)
    return (puts(order, order_id), puts(user, user_id)) == before


def test_a_change_of_an_older_payment_tells_order_but_not_user(start: Start, order: Stub, user: Stub) -> None:
    service = start()
    older = booked(service.pay(1, user_id=9, fields=PENDING))
    refundable = booked(service.pay(2, user_id=9))
    booked(service.pay(3, user_id=9))
    told(user, 9, "paid")
    nothing_waits(service)
    heard = puts(user, 9)
    assert service.settle(older, "failed").status_code == 200
    assert service.refund(refundable).status_code == 201
    told(order, 1, "failed")
    told(order, 2, "failed")
    nothing_waits(service)
    assert puts(user, 9) == heard
    assert user.states()[9] == "paid"
    assert Counter(row["service"] for row in service.notifications()) == {"order": 5, "user": 3}


def test_what_nobody_settles_expires_and_both_hear(start: Start, order: Stub, user: Stub) -> None:
    service = start(PENDING_EXPIRES_S="1")
    payment_id = booked(service.pay(7, user_id=9, fields=PENDING))
    paid = booked(service.pay(8, user_id=10))
    told(order, 7, "pending")
    told(order, 7, "failed")
    told(user, 9, "failed")
    assert status_of(service, payment_id) == ("failed", 0)
    assert status_of(service, paid) == ("paid", 0)
    assert bill_of(service, 7) == (20_000, 0, 0, 20_000, False)
    late = service.settle(payment_id, "paid")
    assert (late.status_code, late.json()) == (
        409,
        {"error": "Pembayaran berstatus failed tidak dapat menjadi paid"},
    )
    assert service.pay(7).status_code == 201


def test_any_number_of_workers_let_each_payment_expire_once(start: Start, order: Stub) -> None:
    """More than one batch of them; one that is settled in time is spared, and none is told twice."""
    service = start("serve", "--no-worker")
    ids = [booked(service.pay(n, user_id=n, fields=PENDING)) for n in range(1, 151)]
    assert service.settle(ids[0], "paid").status_code == 200
    for _ in range(3):
        start("worker", PENDING_EXPIRES_S="0.5")
    wait_for(lambda: list(order.states().values()).count("failed") == 149, 20, "149 expired")
    nothing_wait = [row for row in service.notifications() if row["service"] == "order"]
    assert Counter(Counter(row["payment_id"] for row in nothing_wait).values()) == {2: 150}
    assert status_of(service, ids[0]) == ("paid", 0)
    assert order.states()[1] == "paid"


def test_what_is_settled_at_the_moment_of_expiry_is_as_the_answer_said(start: Start) -> None:
    """The worker and the guest's bank come at once: 200 means paid, 409 means failed, nothing between."""
    services = [start(PENDING_EXPIRES_S="0.5"), start("serve", "--no-worker")]
    ids = [booked(services[1].pay(n, user_id=n, fields=PENDING)) for n in range(1, 61)]
    wait_for(lambda: status_of(services[1], ids[0])[0] == "failed", 10, "the first has expired")
    with ThreadPoolExecutor(4) as pool:
        settled = list(pool.map(lambda n: services[n % 2].settle(n, "paid").status_code, ids))
    for order, (payment_id, code) in enumerate(zip(ids, settled, strict=True), start=1):
        assert status_of(services[0], payment_id)[0] == {200: "paid", 409: "failed"}[code]
        assert bill_of(services[0], order)[1:3] == ((20_000, 0) if code == 200 else (0, 0))


# --- one bill, several payments ----------------------------------------------------------------------


def test_guests_share_a_bill(start: Start, order: Stub, user: Stub) -> None:
    service = start()
    share = {"order_total": 100_000}
    first = booked(service.pay(7, user_id=1, amount=60_000, fields=share))
    told(order, 7, "pending")
    told(user, 1, "paid")
    assert bill_of(service, 7) == (100_000, 60_000, 0, 40_000, False)
    second = booked(service.pay(7, user_id=2, amount=25_000, fields=share | PENDING))
    assert bill_of(service, 7) == (100_000, 60_000, 25_000, 15_000, False)
    third = booked(service.pay(7, user_id=3, amount=15_000, fields=share))
    told(user, 3, "paid")
    assert bill_of(service, 7) == (100_000, 75_000, 25_000, 0, False)
    assert service.settle(second, "paid").status_code == 200
    told(order, 7, "paid")
    assert bill_of(service, 7) == (100_000, 100_000, 0, 0, True)
    nothing_waits(service)
    assert set(puts(order, 7)[:-1]) == {"pending"}, "paid is told once all of it is paid, not before"

    assert service.refund(first).status_code == 201
    told(order, 7, "pending")
    told(user, 1, "failed")
    assert bill_of(service, 7) == (100_000, 40_000, 0, 60_000, False)
    for payment_id in (second, third):
        assert service.refund(payment_id).status_code == 201
    told(order, 7, "failed")
    assert bill_of(service, 7) == (100_000, 0, 0, 100_000, False)
    booked(service.pay(7, user_id=4, amount=50_000))
    told(order, 7, "paid")
    assert bill_of(service, 7) == (50_000, 50_000, 0, 0, True)


def test_a_payment_of_the_whole_may_state_the_total(shared: Service, order_id: int) -> None:
    booked(shared.pay(order_id, fields={"order_total": 20_000}))
    assert bill_of(shared, order_id) == (20_000, 20_000, 0, 0, True)


# --- refunds -----------------------------------------------------------------------------------------


def test_a_part_given_back_tells_nobody_and_the_rest_tells_both(
    start: Start, order: Stub, user: Stub
) -> None:
    service = start()
    payment_id = booked(service.pay(7, user_id=9))
    told(order, 7, "paid")
    told(user, 9, "paid")
    nothing_waits(service)
    part = service.refund(payment_id, {"amount": 5_000, "reason": "Es teh tidak datang"})
    assert part.status_code == 201
    assert nobody_hears_after(service, order, user, 7, 9)
    assert status_of(service, payment_id) == ("paid", 5_000)
    assert bill_of(service, 7) == (20_000, 15_000, 0, 0, True)
    assert service.pay(7).json() == {"error": "Pesanan 7 sudah lunas"}

    rest = service.refund(payment_id)
    assert (rest.status_code, rest.json()["amount"]) == (201, 15_000)
    told(order, 7, "failed")
    told(user, 9, "failed")
    assert status_of(service, payment_id) == ("refunded", 20_000)
    assert bill_of(service, 7) == (20_000, 0, 0, 20_000, False)
    assert service.pay(7, user_id=9, amount=1).status_code == 201
    told(order, 7, "paid")
    told(user, 9, "paid")


def test_a_refund_is_where_its_location_says_and_listed(shared: Service, order_id: int) -> None:
    payment_id = booked(shared.pay(order_id))
    path = f"/payments/{payment_id}/refunds"
    assert shared.http.get(path).json() == {"refunds": []}
    first = shared.refund(payment_id, {"amount": 5_000, "reason": "Es téh ❄ tidak datang"})
    second = shared.refund(payment_id, {"amount": 1})
    refund = first.json()
    assert list(refund) == ["id", "payment_id", "amount", "reason", "created_at"]
    assert (refund["payment_id"], refund["amount"], refund["reason"]) == (
        payment_id,
        5_000,
        "Es téh ❄ tidak datang",
    )
    assert second.json()["reason"] is None
    assert first.headers["location"] == f"{path}/{refund['id']}"
    assert shared.http.get(first.headers["location"]).content == first.content
    assert shared.http.get(path).json() == {"refunds": [refund, second.json()]}


def test_a_refund_needs_no_body(shared: Service, order_id: int) -> None:
    payment_id = booked(shared.pay(order_id))
    whole = shared.http.post(f"/payments/{payment_id}/refunds")
    assert (whole.status_code, whole.json()["amount"]) == (201, 20_000)


def test_a_refund_of_another_payment_is_not_found(shared: Service, order_id: int) -> None:
    payment_id, other = booked(shared.pay(order_id)), booked(shared.pay(next(_orders)))
    refund_id = shared.refund(payment_id).json()["id"]
    missing = shared.http.get(f"/payments/{other}/refunds/{refund_id}")
    assert (missing.status_code, missing.json()) == (404, {"error": "Pengembalian tidak ditemukan"})


# --- what is refused, in both languages --------------------------------------------------------------

Made = Callable[[Service, int], httpx.Response]
PART = {"order_total": 100_000}


def _after(service: Service, order_id: int, then: str, **fields: Any) -> int:
    """Make a payment and bring it into a state; return its id."""
    payment_id = booked(service.pay(order_id, fields=PENDING | fields))
    if then != "pending":
        assert service.settle(payment_id, "failed" if then == "failed" else "paid").status_code == 200
    if then == "refunded":
        assert service.refund(payment_id).status_code == 201
    return payment_id


def _second_pay(first: Mapping[str, Any], amount: int, second: Mapping[str, Any]) -> Made:
    def made(service: Service, order_id: int) -> httpx.Response:
        booked(service.pay(order_id, fields=first))
        return service.pay(order_id, user_id=2, amount=amount, fields=second)

    return made


def _settle(state: str, status: str) -> Made:
    return lambda service, order_id: service.settle(_after(service, order_id, state), status)


def _refund(state: str, fields: Mapping[str, Any] | None = None, *, before: int = 0) -> Made:
    def made(service: Service, order_id: int) -> httpx.Response:
        payment_id = _after(service, order_id, state)
        if before:
            assert service.refund(payment_id, {"amount": before}).status_code == 201
        return service.refund(payment_id, fields)

    return made


CONFLICTS: list[tuple[str, Made, str, str]] = [
    (
        "bill-settled",
        _second_pay({}, 5, PART),
        "Pesanan {order} sudah lunas",
        "Order {order} is already paid",
    ),
    (
        "bill-total-differs",
        _second_pay(PART, 5, {"order_total": 90_000}),
        "Tagihan pesanan {order} adalah 100000, bukan 90000",
        "The bill of order {order} is 100000, not 90000",
    ),
    (
        "bill-total-differs",
        _second_pay(PENDING, 5, {}),
        "Tagihan pesanan {order} adalah 20000, bukan 5",
        "The bill of order {order} is 20000, not 5",
    ),
    (
        "bill-exceeded",
        _second_pay(PART, 80_001, PART),
        "Sisa tagihan pesanan {order} hanya 80000",
        "Only 80000 is left to pay of order {order}",
    ),
    (
        "bill-exceeded",
        _second_pay(PENDING | PART, 80_001, PART | PENDING),
        "Sisa tagihan pesanan {order} hanya 80000",
        "Only 80000 is left to pay of order {order}",
    ),
    (
        "move-not-allowed",
        _settle("paid", "failed"),
        "Pembayaran berstatus paid tidak dapat menjadi failed",
        "A payment that is paid cannot become failed",
    ),
    (
        "move-not-allowed",
        _settle("failed", "paid"),
        "Pembayaran berstatus failed tidak dapat menjadi paid",
        "A payment that is failed cannot become paid",
    ),
    (
        "move-not-allowed",
        _settle("refunded", "paid"),
        "Pembayaran berstatus refunded tidak dapat menjadi paid",
        "A payment that is refunded cannot become paid",
    ),
    (
        "move-not-allowed",
        _refund("pending"),
        "Pembayaran berstatus pending tidak dapat menjadi refunded",
        "A payment that is pending cannot become refunded",
    ),
    (
        "move-not-allowed",
        _refund("failed", {"amount": 1}),
        "Pembayaran berstatus failed tidak dapat menjadi refunded",
        "A payment that is failed cannot become refunded",
    ),
    (
        "move-not-allowed",
        _refund("refunded", {"amount": 1}),
        "Pembayaran berstatus refunded tidak dapat menjadi refunded",
        "A payment that is refunded cannot become refunded",
    ),
    (
        "refund-too-large",
        _refund("paid", {"amount": 15_001}, before=5_000),
        "Yang masih dapat dikembalikan dari pembayaran {payment} hanya 15000",
        "Only 15000 is left to refund of payment {payment}",
    ),
    (
        "refunded-differs",
        _refund("paid", {"amount": 5_000, "expected_refunded": 0}, before=5_000),
        "Yang sudah dikembalikan dari pembayaran {payment} adalah 5000, bukan 0",
        "5000 was refunded of payment {payment} so far, not 0",
    ),
    (
        "refunded-differs",
        _refund("refunded", {"expected_refunded": 0}),
        "Yang sudah dikembalikan dari pembayaran {payment} adalah 20000, bukan 0",
        "20000 was refunded of payment {payment} so far, not 0",
    ),
]


@pytest.mark.parametrize(("code", "made", "indonesian", "english"), CONFLICTS)
def test_a_conflict_says_what_is_true_and_changes_nothing(
    shared: Service, order_id: int, code: str, made: Made, indonesian: str, english: str
) -> None:
    refused = made(shared, order_id)
    bill = bill_of(shared, order_id)
    named = [part for part in refused.request.url.path.split("/") if part.isdigit()]
    facts = {"order": order_id, "payment": named[0] if named else ""}
    assert (refused.status_code, refused.json()) == (409, {"error": indonesian.format(**facts)})

    sent = refused.request
    in_english = shared.http.request(
        sent.method,
        sent.url,
        content=sent.content,
        headers={"Accept-Language": "en", "Accept": "application/problem+json"},
    ).json()
    assert (in_english["status"], in_english["type"]) == (409, f"urn:payment:problem:{code}")
    assert in_english["detail"] == english.format(**facts)
    assert bill_of(shared, order_id) == bill


PAY: dict[str, Any] = {"order_id": 1, "user_id": 1, "amount": 20_000}
BAD_STATUS = "status harus salah satu dari: paid, pending"
BAD_SETTLEMENT = "status harus salah satu dari: paid, failed"
BAD_REASON = (
    "reason harus 1 sampai 200 karakter, bukan spasi saja, tanpa karakter kendali atau pembalik arah tulisan"
)
NO_STATUS: list[Any] = [None, "", "PAID", "failed", "refunded", 1, ["paid"], True]
NO_SETTLEMENT: list[Any] = ["pending", "refunded", "Paid", "", 1, [], True]
NO_AMOUNT: list[Any] = [None, 0, -1, "100000", 1.5, True, MAX + 1, []]
NO_AMOUNT_OR_ZERO: list[Any] = [None, -1, "0", 0.5, False, MAX + 1]
NO_REASON: list[Any] = [None, "", "x" * 201, "a\nb", "\x00", "\x7f", "\x85", "\ud800", 5, []]


@pytest.mark.parametrize(
    ("method", "path", "sent", "error"),
    [
        *(("POST", "/payments", PAY | {"status": wrong}, BAD_STATUS) for wrong in NO_STATUS),
        *(("POST", "/payments", PAY | {"order_total": wrong}, f"order_total {WHOLE}") for wrong in NO_AMOUNT),
        (
            "POST",
            "/payments",
            PAY | {"order_total": 19_999},
            "order_total harus sekurangnya amount, 20000",
        ),
        *(("PATCH", "/payments/{id}", sent, "status wajib diisi") for sent in (None, {}, {"status": None})),
        *(("PATCH", "/payments/{id}", {"status": wrong}, BAD_SETTLEMENT) for wrong in NO_SETTLEMENT),
        ("PATCH", "/payments/{id}", [], "Isi permintaan harus berupa objek JSON"),
        *(("POST", "/payments/{id}/refunds", {"amount": wrong}, f"amount {WHOLE}") for wrong in NO_AMOUNT),
        *(
            (
                "POST",
                "/payments/{id}/refunds",
                {"expected_refunded": wrong},
                f"expected_refunded harus bilangan bulat dari 0 sampai {MAX}",
            )
            for wrong in NO_AMOUNT_OR_ZERO
        ),
        *(("POST", "/payments/{id}/refunds", {"reason": wrong}, BAD_REASON) for wrong in NO_REASON),
        ("POST", "/payments/{id}/refunds", [], "Isi permintaan harus berupa objek JSON"),
        ("PATCH", "/payments/0", {"status": "paid"}, f"payment_id {WHOLE}"),
        ("POST", "/payments/x/refunds", {}, f"payment_id {WHOLE}"),
        ("GET", "/payments/x/refunds", None, f"payment_id {WHOLE}"),
        ("GET", "/payments/{id}/refunds/0", None, f"refund_id {WHOLE}"),
        ("GET", f"/bills/{MAX + 1}", None, f"order_id {WHOLE}"),
    ],
)
def test_what_is_no_request_is_400_and_changes_nothing(
    shared: Service, order_id: int, method: str, path: str, sent: Any, error: str
) -> None:
    payment_id = booked(shared.pay(order_id, fields=PENDING))
    if path.endswith("refunds"):
        shared.settle(payment_id, "paid")
    before = bill_of(shared, order_id), status_of(shared, payment_id)
    if path == "/payments":
        sent = sent | {"order_id": next(_orders)}
    refused = shared.http.request(
        method, path.replace("{id}", str(payment_id)), content=json.dumps(sent) if method != "GET" else None
    )
    assert (refused.status_code, refused.json()) == (400, {"error": error})
    assert (bill_of(shared, order_id), status_of(shared, payment_id)) == before
    if path == "/payments":
        assert shared.http.get(f"/bills/{sent['order_id']}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "sent", "indonesian", "english"),
    [
        (
            "PATCH",
            f"/payments/{UNKNOWN}",
            {"status": "paid"},
            "Pembayaran tidak ditemukan",
            "Payment not found",
        ),
        ("POST", f"/payments/{UNKNOWN}/refunds", {}, "Pembayaran tidak ditemukan", "Payment not found"),
        ("GET", f"/payments/{UNKNOWN}/refunds", None, "Pembayaran tidak ditemukan", "Payment not found"),
        ("GET", f"/payments/{UNKNOWN}/refunds/1", None, "Pembayaran tidak ditemukan", "Payment not found"),
        (
            "GET",
            f"/bills/{UNKNOWN}",
            None,
            f"Pesanan {UNKNOWN} belum punya tagihan",
            f"Order {UNKNOWN} has no bill",
        ),
    ],
)
def test_what_is_not_there_is_404(
    shared: Service, method: str, path: str, sent: Any, indonesian: str, english: str
) -> None:
    for headers, error in (({}, indonesian), ({"Accept-Language": "en"}, english)):
        missing = shared.http.request(method, path, json=sent, headers=headers)
        assert (missing.status_code, missing.json()) == (404, {"error": error})


@pytest.mark.parametrize("length", [1, 200])
def test_a_reason_may_be_as_long_as_that(shared: Service, order_id: int, length: int) -> None:
    payment_id = booked(shared.pay(order_id))
    reason = "é" * (length - 1) + "😀"
    assert shared.refund(payment_id, {"reason": reason}).json()["reason"] == reason


# --- keys --------------------------------------------------------------------------------------------


def test_a_settlement_replays_byte_for_byte_whatever_came_of_the_payment(
    shared: Service, order_id: int
) -> None:
    key = f"settle-{order_id}"
    payment_id = booked(shared.pay(order_id, fields=PENDING))
    first = shared.settle(payment_id, "paid", Idempotency_Key=key)
    assert first.json()["status"] == "paid"
    assert shared.refund(payment_id).status_code == 201
    again = shared.settle(payment_id, "paid", Idempotency_Key=key)
    assert (again.status_code, again.content) == (200, first.content)
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (
        None,
        "true",
    )
    assert "location" not in again.headers
    assert status_of(shared, payment_id) == ("refunded", 20_000)
    assert shared.settle(payment_id, "paid").status_code == 409


def test_a_refund_replays_byte_for_byte_and_gives_back_once(shared: Service, order_id: int) -> None:
    key = f"refund-{order_id}"
    payment_id = booked(shared.pay(order_id))
    first = shared.refund(payment_id, {"amount": 5_000, "expected_refunded": 0}, Idempotency_Key=key)
    again = shared.refund(payment_id, {"expected_refunded": 0.0, "amount": 5e3, "x": 1}, Idempotency_Key=key)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (
        None,
        "true",
    )
    assert status_of(shared, payment_id) == ("paid", 5_000)


def test_a_key_is_for_one_payment_and_one_body(shared: Service, order_id: int) -> None:
    key = f"one-{order_id}"
    payment_id, other = booked(shared.pay(order_id)), booked(shared.pay(next(_orders)))
    waiting, another = (booked(shared.pay(next(_orders), fields=PENDING)) for _ in range(2))
    assert shared.refund(payment_id, {"amount": 1}, Idempotency_Key=key).status_code == 201
    assert shared.refund(payment_id, {"amount": 2}, Idempotency_Key=key).status_code == 422
    assert shared.refund(payment_id, Idempotency_Key=key).status_code == 422
    assert shared.refund(other, {"amount": 1}, Idempotency_Key=key).status_code == 422
    assert shared.settle(waiting, "paid", Idempotency_Key=key).status_code == 200  # another operation
    assert shared.settle(waiting, "failed", Idempotency_Key=key).status_code == 422
    assert shared.settle(another, "paid", Idempotency_Key=key).status_code == 422
    assert shared.pay(next(_orders), Idempotency_Key=key).status_code == 201
    assert status_of(shared, other) == ("paid", 0)
    assert status_of(shared, another) == ("pending", 0)


def test_a_refused_settlement_or_refund_is_not_kept_but_judged_anew(shared: Service, order_id: int) -> None:
    key = f"anew-{order_id}"
    payment_id = booked(shared.pay(order_id, fields=PENDING))
    assert shared.refund(payment_id, Idempotency_Key=key).status_code == 409
    assert shared.settle(payment_id, "paid", Idempotency_Key="k" * 256).status_code == 400
    assert shared.settle(payment_id, "paid", Idempotency_Key=key).status_code == 200
    assert shared.refund(payment_id, Idempotency_Key=key).status_code == 201


def test_a_key_for_a_pending_payment_is_not_one_for_a_paid_one(shared: Service, order_id: int) -> None:
    key = f"pending-{order_id}"
    first = shared.pay(order_id, fields={"status": "pending"}, Idempotency_Key=key)
    assert shared.pay(order_id, Idempotency_Key=key).status_code == 422
    assert shared.pay(order_id, fields={"status": "pending"}, Idempotency_Key=key).content == first.content


# --- races from two processes ------------------------------------------------------------------------


@pytest.fixture
def processes(start: Start) -> list[Service]:
    """Two API processes over one database."""
    return [start("serve", "--no-worker"), start("serve", "--no-worker")]


def race(calls: Sequence[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    """Make all calls at the same moment, each in a thread of its own."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], httpx.Response]) -> httpx.Response:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def codes(answers: Sequence[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


@ALSO_POOLED
@pytest.mark.parametrize("status", ["paid", "pending"])
def test_of_eight_guests_on_a_bill_of_four_parts_four_pay(
    processes: list[Service], rounds: range, status: str
) -> None:
    for order in rounds:
        calls = [
            partial(processes[n % 2].pay, order, n + 1, 25_000, {"order_total": 100_000, "status": status})
            for n in range(8)
        ]
        answers = race(calls)
        assert codes(answers) == {201: 4, 409: 4}
        paid, pending = (100_000, 0) if status == "paid" else (0, 100_000)
        assert bill_of(processes[0], order) == (100_000, paid, pending, 0, status == "paid")


@ALSO_POOLED
def test_of_eight_refunds_of_thirty_on_a_hundred_three_succeed(
    processes: list[Service], rounds: range
) -> None:
    for order in rounds:
        payment_id = booked(processes[0].pay(order, amount=100))
        calls = [partial(processes[n % 2].refund, payment_id, {"amount": 30}) for n in range(8)]
        answers = race(calls)
        assert codes(answers) == {201: 3, 409: 5}
        assert status_of(processes[1], payment_id) == ("paid", 90)
        listed = processes[1].http.get(f"/payments/{payment_id}/refunds").json()["refunds"]
        assert [refund["amount"] for refund in listed] == [30, 30, 30]
        assert len({answer.headers["location"] for answer in answers if answer.status_code == 201}) == 3


@pytest.mark.parametrize(
    ("fields", "headers", "expected"),
    [
        ({"amount": 30, "expected_refunded": 0}, {}, {201: 1, 409: 7}),
        ({}, {}, {201: 1, 409: 7}),
        ({"amount": 30}, {"Idempotency_Key": "refund-{}"}, {201: 8}),
    ],
    ids=["by what was expected", "whole", "by key"],
)
@ALSO_POOLED
def test_of_eight_clicks_on_a_refund_one_gives_back(
    processes: list[Service],
    rounds: range,
    fields: Mapping[str, int],
    headers: Mapping[str, str],
    expected: Mapping[int, int],
) -> None:
    for order in rounds:
        payment_id = booked(processes[0].pay(order, amount=100))
        keyed = {name: value.format(payment_id) for name, value in headers.items()}
        calls = [partial(processes[n % 2].refund, payment_id, fields, **keyed) for n in range(8)]
        answers = race(calls)
        assert codes(answers) == expected
        assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
        assert len(processes[0].http.get(f"/payments/{payment_id}/refunds").json()["refunds"]) == 1


@ALSO_POOLED
def test_when_paid_and_failed_race_exactly_one_wins(processes: list[Service], rounds: range) -> None:
    for order in rounds:
        payment_id = booked(processes[0].pay(order, fields=PENDING))
        calls = [
            partial(processes[n % 2].settle, payment_id, status)
            for n, status in enumerate(["paid", "failed", "failed", "paid"])
        ]
        answers = race(calls)
        assert codes(answers) == {200: 2, 409: 2}
        (winner,) = {answer.json()["status"] for answer in answers if answer.status_code == 200}
        assert status_of(processes[1], payment_id) == (winner, 0)
        paid = 20_000 if winner == "paid" else 0
        assert bill_of(processes[1], order) == (20_000, paid, 0, 20_000 - paid, winner == "paid")


@ALSO_POOLED
def test_a_bill_that_is_refunded_and_paid_at_once_adds_up(processes: list[Service], rounds: range) -> None:
    """Who pays while another is given the money back gets 201 or 409, and the bill says which."""
    for order in rounds:
        payment_id = booked(processes[0].pay(order))
        guests = [partial(processes[n % 2].pay, order, n + 2) for n in range(4)]
        clicks = [partial(processes[n % 2].refund, payment_id) for n in range(4)]
        answers = race([each for pair in zip(clicks, guests, strict=True) for each in pair])
        refunded, paid = answers[::2], answers[1::2]
        assert codes(refunded) == {201: 1, 409: 3}
        assert codes(paid)[201] <= 1
        again = codes(paid)[201] == 1
        assert bill_of(processes[0], order)[:2] == (20_000, 20_000 if again else 0)
        listed = processes[1].http.get("/payments", params={"order_id": order}).json()["payments"]
        assert sorted((each["status"], each["amount_refunded"]) for each in listed) == sorted(
            [("refunded", 20_000), *([("paid", 0)] if again else [])]
        )
