"""Provider states of our own service, set up through its public API (docs/contracts.md lists them)."""

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from payment_contracts.states import States
from payment_contracts.verdict import InvalidRunError
from payment_life import PENDING, booked
from processes import Service


def states_of(service: Service) -> States:
    """Return what sets up the states of our own service."""
    orders = count(1)

    def states(state: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        if state == "payment does not exist":
            return parameters
        if "cursor" in state:
            return {"cursor": _cursor(service, state, orders)}
        order_id = next(orders)
        if state == "order has no payment":
            return {"order_id": order_id}
        if state == "two payments exist":
            booked(service.pay(next(orders)))
        return _paid(service, state, order_id, parameters)

    return states


def _paid(service: Service, state: str, order_id: int, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    made: dict[str, Any] = {"order_id": order_id}
    match state:
        case "payment is pending" | "payment is failed":
            made["reference"] = f"QR-{order_id}"
            payment_id = booked(service.pay(order_id, fields=PENDING))
        case "payment has a reference":
            made["reference"] = f"QR-{order_id}"
            named = {"method": "qris", "reference": made["reference"]}
            payment_id = booked(service.pay(order_id, fields=named))
        case "payment failed and its order is paid" | "money of a payment came late":
            payment_id = booked(service.pay(order_id, fields=PENDING))
            service.settle(payment_id, "failed").raise_for_status()
            booked(service.pay(order_id))
        case "order is paid in part":
            total = {"order_total": parameters["order_total"]}
            payment_id = booked(service.pay(order_id, amount=parameters["paid"], fields=total))
        case "order is paid with an Idempotency-Key":
            made["idempotency_key"] = f"order-{order_id}"
            payment_id = booked(service.pay(order_id, Idempotency_Key=made["idempotency_key"]))
        case (
            "order is paid"
            | "payment exists"
            | "two payments exist"
            | "payment is refunded"
            | "payment is refunded in part"
        ):
            payment_id = booked(service.pay(order_id))
        case _:
            raise InvalidRunError("nobody here knows it")
    if state == "payment is failed":
        service.settle(payment_id, "failed").raise_for_status()
    if state == "money of a payment came late":
        service.settle(payment_id, "paid")  # refused, and noted
    if "refunded" in state:
        part = {"amount": parameters["refunded"]} if "in part" in state else {}
        service.refund(payment_id, part).raise_for_status()
    return made | {"payment_id": payment_id}


def _cursor(service: Service, state: str, orders: Iterator[int]) -> str:
    booked(service.pay(next(orders)))
    newest: str = service.http.get("/events", params={"after": "newest"}).json()["next_cursor"]
    match state:
        case "something happened after the cursor":
            booked(service.pay(next(orders)))
            return newest
        case "nothing happened after the cursor":
            return newest
        case "cursor is not in the log":
            number, time_us = newest.split(".")
            return f"{number}.{int(time_us) + 1}"
    raise InvalidRunError("nobody here knows it")
