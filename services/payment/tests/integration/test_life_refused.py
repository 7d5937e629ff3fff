"""What is refused of a payment's life, in both languages: conflicts, bad requests, what is not there."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest

from payment_life import PENDING, bill_of, booked, new_order_id, status_of
from processes import Service

MAX = 2**53 - 1
UNKNOWN = 999_999
WHOLE = f"harus bilangan bulat dari 1 sampai {MAX}"


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
        # no body gives back all that is left; null is one that says nothing
        ("POST", "/payments/{id}/refunds", None, "Isi permintaan harus berupa objek JSON"),
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
        sent = sent | {"order_id": new_order_id()}
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
