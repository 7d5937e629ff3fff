"""Idempotency keys of settlements and refunds, and of payments that wait."""

from typing import Any

from payment_life import PENDING, booked, new_order_id, status_of
from processes import Service


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
    payment_id, other = booked(shared.pay(order_id)), booked(shared.pay(new_order_id()))
    waiting, another = (booked(shared.pay(new_order_id(), fields=PENDING)) for _ in range(2))
    assert shared.refund(payment_id, {"amount": 1}, Idempotency_Key=key).status_code == 201
    assert shared.refund(payment_id, {"amount": 2}, Idempotency_Key=key).status_code == 422
    assert shared.refund(payment_id, Idempotency_Key=key).status_code == 422
    assert shared.refund(other, {"amount": 1}, Idempotency_Key=key).status_code == 422
    assert shared.settle(waiting, "paid", Idempotency_Key=key).status_code == 200  # another operation
    assert shared.settle(waiting, "failed", Idempotency_Key=key).status_code == 422
    assert shared.settle(another, "paid", Idempotency_Key=key).status_code == 422
    assert shared.pay(new_order_id(), Idempotency_Key=key).status_code == 201
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


def test_the_same_payment_in_other_words_is_the_same_request(shared: Service, order_id: int) -> None:
    """A library that spells out what is so anyway must not be told that it asks for something else."""
    key = f"words-{order_id}"
    first = shared.pay(order_id, fields={"status": "paid"}, Idempotency_Key=key)
    same: tuple[dict[str, Any], ...] = (
        {},
        {"order_total": 20_000, "method": "cash"},
        {"status": "paid", "order_total": 2e4},
    )
    for fields in same:
        again = shared.pay(order_id, fields=fields, Idempotency_Key=key)
        assert (again.status_code, again.content) == (201, first.content)
        assert again.headers["idempotency-replayed"] == "true"
    others: tuple[dict[str, Any], ...] = ({"order_total": 20_001}, {"status": "pending"}, {"method": "qris"})
    for fields in others:
        assert shared.pay(order_id, fields=fields, Idempotency_Key=key).status_code == 422
