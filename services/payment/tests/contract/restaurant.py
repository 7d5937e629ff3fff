"""What the restaurant system relies on from us, as documented to it; `back_end` is what it reads."""

from collections.abc import Mapping
from typing import Any

from pact import match

import back_end
from any_client import UNKNOWN_ID, ask, error, from_state, nobody, read_by
from interaction import Interaction
from json_reading import Reader, refusal


def _pay(
    description: str,
    order_id: int,
    body: Mapping[str, Any],
    code: int,
    answer: Mapping[str, Any],
    reads: Reader,
    *,
    state: str = "order has no payment",
    replayed: bool = False,
    **parameters: int | str,
) -> Interaction:
    generators: dict[str, Any] = {}
    if body.get("order_id") == order_id:
        generators["body"] = {"$.order_id": from_state("order_id", "INTEGER")}
        if "reference" in parameters:
            generators["body"]["$.reference"] = from_state("reference", "STRING")
    headers = {}
    if "idempotency_key" in parameters:
        headers["Idempotency-Key"] = str(parameters["idempotency_key"])
        generators["header"] = {"Idempotency-Key": from_state("idempotency_key", "STRING")}
    answer_headers: dict[str, Any] = {}
    if code == 201:
        answer_headers["Location"] = match.regex("/payments/1", regex=r"^.*/payments/\d+$")
    if replayed:
        answer_headers["Idempotency-Replayed"] = "true"
    interaction = Interaction(
        description=description,
        state=state,
        parameters={"order_id": order_id, **parameters},
        method="POST",
        path="/payments",
        request=body,
        status=code,
        answer=answer,
        call=nobody,
        request_headers=headers,
        request_generators=generators,
        answer_headers=answer_headers,
    )
    return read_by(reads, interaction)


def _payment(status: object) -> Mapping[str, Any]:
    return {
        "id": match.int(1),
        "order_id": match.int(1),
        "user_id": match.int(1),
        "amount": match.int(20_000),
        "status": status,
    }


def _closing(date: object) -> Mapping[str, Any]:
    takings = {name: match.int(20_000) for name in back_end.TAKINGS}
    line = {"method": match.str("cash"), **takings}
    # each_like, with an example as long as openapi/payment.yaml describes it
    methods = match.type([line] * 5, min=1)
    return {"date": date, "methods": methods, **takings}


def restaurant_interactions() -> list[Interaction]:
    """Return what the restaurant system relies on from us."""
    one, unknown = {"payment_id": 1}, {"payment_id": UNKNOWN_ID}
    read, settle = ("GET", "/payments/{payment_id}"), ("PATCH", "/payments/{payment_id}")
    give_back, bill = ("POST", "/payments/{payment_id}/refunds"), ("GET", "/bills/{order_id}")
    listed, closed = ("GET", "/payments"), ("GET", "/reports/daily")
    told = ("GET", "/payments/{payment_id}/notifications")
    any_payment = _payment(match.regex("paid", regex=f"^({'|'.join(back_end.STATUSES)})$"))
    in_part: Mapping[str, Any] = {"state": "order is paid in part", "order_total": 60_000, "paid": 20_000}
    with_key: Mapping[str, Any] = {
        "state": "order is paid with an Idempotency-Key",
        "idempotency_key": "8e03978e-40d5-43e8-bc93-6894a57f9324",
    }
    processed = {"message": back_end.PROCESSED, "payment_id": match.int(1)}
    required = {"error": back_end.REQUIRED}
    not_found = {"error": back_end.UNKNOWN}
    read_required = refusal(400, back_end.REQUIRED)
    read_not_found = refusal(404, back_end.UNKNOWN)
    conflict = refusal(409)
    sample = {"order_id": 1, "user_id": 1, "amount": 20_000}

    def booked(description: str, **more: object) -> Interaction:
        return _pay(description, 1, sample | more, 201, processed, back_end.processed)

    def incomplete(description: str, body: Mapping[str, Any]) -> Interaction:
        return _pay(description, 1, body, 400, required, read_required)

    return [
        booked("pay an order"),
        booked("pay an order later", method="qris", status="pending"),
        booked("pay a share of an order", order_total=60_000),
        *(
            incomplete(f"pay without {name}", {key: sample[key] for key in sample if key != name})
            for name in sample
        ),
        incomplete("pay with an amount that is null", sample | {"amount": None}),
        _pay(
            "pay with an amount of zero",
            1,
            sample | {"amount": 0},
            400,
            error("amount harus bilangan bulat"),
            refusal(400),
        ),
        _pay(
            "pay an order that is paid",
            2,
            sample | {"order_id": 2},
            409,
            error("Pesanan 2 sudah lunas"),
            conflict,
            state="order is paid",
        ),
        _pay(
            "pay more than is left of an order",
            3,
            sample | {"order_id": 3, "amount": 40_001, "order_total": 60_000},
            409,
            error("Sisa tagihan pesanan 3 hanya 40000"),
            conflict,
            **in_part,
        ),
        _pay(
            "pay a share of an order that has another total",
            3,
            sample | {"order_id": 3, "order_total": 70_000},
            409,
            error("Tagihan pesanan 3 adalah 60000, bukan 70000"),
            conflict,
            **in_part,
        ),
        _pay(
            "send a payment again with its Idempotency-Key",
            4,
            sample | {"order_id": 4},
            201,
            processed,
            back_end.processed_before,
            replayed=True,
            **with_key,
        ),
        _pay(
            "send another payment with an Idempotency-Key that was used",
            4,
            sample | {"order_id": 4, "amount": 25_000},
            422,
            error("Idempotency-Key ini sudah dipakai untuk permintaan lain"),
            refusal(422),
            **with_key,
        ),
        _pay(
            "pay with a reference that another payment has",
            5,
            sample | {"order_id": 5, "method": "qris", "reference": "QR-5"},
            409,
            error("Referensi QR-5 sudah dipakai pembayaran 5"),
            conflict,
            state="payment has a reference",
            reference="QR-5",
        ),
        ask("read a payment", "payment exists", one, read, 200, _payment("paid"), back_end.payment("paid")),
        ask(
            "read an unknown payment", "payment does not exist", unknown, read, 404, not_found, read_not_found
        ),
        *(
            ask(
                f"settle a payment as {status}",
                "payment is pending",
                one,
                settle,
                200,
                _payment(status),
                back_end.payment(status),
                request={"status": status},
            )
            for status in ("paid", "failed")
        ),
        ask(
            "settle a payment as its provider says",
            "payment is pending",
            {**one, "reference": "QR-1"},
            settle,
            200,
            {**_payment("paid"), "reference": match.str("QR-1")},
            back_end.named_payment("paid"),
            request={"status": "paid", "reference": "QR-1"},
            request_generators={"body": {"$.reference": from_state("reference", "STRING")}},
        ),
        ask(
            "settle a payment whose money came too late",
            "payment failed and its order is paid",
            {"payment_id": 6},
            settle,
            409,
            error("Uang pembayaran 6 datang terlambat untuk pesanan 6; catatannya di /payments/6/late"),
            conflict,
            request={"status": "paid"},
        ),
        ask(
            "say what became of money that came late",
            "money of a payment came late",
            {"payment_id": 6},
            ("POST", "/payments/{payment_id}/late"),
            200,
            {"amount": match.int(20_000), "resolution": "returned", "reference": "RF-6"},
            back_end.late_money,
            request={"resolution": "returned", "reference": "RF-6"},
        ),
        ask(
            "settle a payment that is settled otherwise",
            "payment exists",
            {"payment_id": 2},
            settle,
            409,
            error("Pembayaran berstatus paid tidak dapat menjadi failed"),
            conflict,
            request={"status": "failed"},
        ),
        ask(
            "give a part of a payment back",
            "payment exists",
            one,
            give_back,
            201,
            {"id": match.int(1), "amount": 5_000},
            back_end.refund,
            request={"amount": 5_000},
        ),
        ask(
            "give more back than was paid",
            "payment exists",
            one,
            give_back,
            409,
            error("Yang masih dapat dikembalikan dari pembayaran 1 hanya 20000"),
            conflict,
            request={"amount": 20_001},
        ),
        ask(
            "give a part back a second time",
            "payment is refunded in part",
            {"payment_id": 3, "refunded": 5_000},
            give_back,
            409,
            error("Yang sudah dikembalikan dari pembayaran 3 adalah 5000, bukan 0"),
            conflict,
            request={"amount": 5_000, "expected_refunded": 0},
        ),
        ask(
            "read the bill of an order",
            "order is paid",
            {"order_id": 1},
            bill,
            200,
            {"total": 20_000, "paid": 20_000, "pending": 0, "remaining": 0, "settled": True},
            back_end.settled_bill,
        ),
        ask(
            "read the bill of an order that nobody paid for",
            "order has no payment",
            {"order_id": 2},
            bill,
            404,
            error("Pesanan 2 belum punya tagihan"),
            refusal(404),
        ),
        ask(
            "list the payments",
            "payment exists",
            {},
            listed,
            200,
            {"payments": match.each_like(any_payment, min=1)},
            back_end.payments,
        ),
        ask(
            "list the payments a page at a time",
            "two payments exist",
            {},
            listed,
            200,
            {"payments": [any_payment], "next_cursor": match.str("MS4xLjEuNGVlZDg0ZDgyY2U4")},
            back_end.first_page,
            query={"limit": "1"},
            answer_headers={
                "Link": match.regex(
                    '</payments?limit=1&cursor=MS4xLjEuNGVlZDg0ZDgyY2U4>; rel="next"',
                    regex=r'^<.*cursor=[^&>]+>; rel="next"$',
                )
            },
        ),
        ask(
            "read what Order and User were told of a payment",
            "payment exists",
            one,
            told,
            200,
            {
                "notifications": match.each_like(
                    {
                        "service": match.regex("order", regex="^(order|user)$"),
                        "state": match.regex("waiting", regex=f"^({'|'.join(back_end.STATES)})$"),
                    },
                    min=1,
                )
            },
            back_end.notifications,
        ),
        ask(
            "read what Order and User were told of an unknown payment",
            "payment does not exist",
            unknown,
            told,
            404,
            not_found,
            read_not_found,
        ),
        ask(
            "close today",
            "payment exists",
            {},
            closed,
            200,
            _closing(match.regex("2026-01-31", regex=r"^\d{4}-\d\d-\d\d$")),
            back_end.closing(),
        ),
        ask(
            "close a day",
            "payment exists",
            {},
            closed,
            200,
            _closing("2026-01-31"),
            back_end.closing("2026-01-31"),
            query={"date": "2026-01-31"},
        ),
    ]
