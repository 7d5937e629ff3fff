"""Parts, settlements and refunds that race in two processes."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import httpx
import pytest

from payment_life import PENDING, bill_of, booked, new_order_id, status_of
from processes import Service


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


@pytest.mark.parametrize("status", ["paid", "pending"])
def test_of_eight_guests_on_a_bill_of_four_parts_four_pay(
    shared_pair: list[Service], rounds: range, status: str
) -> None:
    for _ in rounds:
        order = new_order_id()
        calls = [
            partial(shared_pair[n % 2].pay, order, n + 1, 25_000, {"order_total": 100_000, "status": status})
            for n in range(8)
        ]
        answers = race(calls)
        assert codes(answers) == {201: 4, 409: 4}
        paid, pending = (100_000, 0) if status == "paid" else (0, 100_000)
        assert bill_of(shared_pair[0], order) == (100_000, paid, pending, 0, status == "paid")


def test_of_eight_refunds_of_thirty_on_a_hundred_three_succeed(
    shared_pair: list[Service], rounds: range
) -> None:
    for _ in rounds:
        order = new_order_id()
        payment_id = booked(shared_pair[0].pay(order, amount=100))
        calls = [partial(shared_pair[n % 2].refund, payment_id, {"amount": 30}) for n in range(8)]
        answers = race(calls)
        assert codes(answers) == {201: 3, 409: 5}
        assert status_of(shared_pair[1], payment_id) == ("paid", 90)
        listed = shared_pair[1].http.get(f"/payments/{payment_id}/refunds").json()["refunds"]
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
def test_of_eight_clicks_on_a_refund_one_gives_back(
    shared_pair: list[Service],
    rounds: range,
    fields: Mapping[str, int],
    headers: Mapping[str, str],
    expected: Mapping[int, int],
) -> None:
    for _ in rounds:
        order = new_order_id()
        payment_id = booked(shared_pair[0].pay(order, amount=100))
        keyed = {name: value.format(payment_id) for name, value in headers.items()}
        calls = [partial(shared_pair[n % 2].refund, payment_id, fields, **keyed) for n in range(8)]
        answers = race(calls)
        assert codes(answers) == expected
        assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
        assert len(shared_pair[0].http.get(f"/payments/{payment_id}/refunds").json()["refunds"]) == 1


def test_when_paid_and_failed_race_the_money_is_booked(shared_pair: list[Service], rounds: range) -> None:
    """Who is first with `failed` frees the bill, and `paid` takes it again."""
    for _ in rounds:
        order = new_order_id()
        payment_id = booked(shared_pair[0].pay(order, fields=PENDING))
        calls = [
            partial(shared_pair[n % 2].settle, payment_id, status)
            for n, status in enumerate(["paid", "failed", "failed", "paid"])
        ]
        first, *failed, last = race(calls)
        assert codes([first, last]) == {200: 2}
        assert {answer.json()["status"] for answer in (first, last)} == {"paid"}
        assert set(codes(failed)) <= {200, 409}
        assert status_of(shared_pair[1], payment_id) == ("paid", 0)
        assert bill_of(shared_pair[1], order) == (20_000, 20_000, 0, 0, True)


def test_a_bill_that_is_refunded_and_paid_at_once_adds_up(shared_pair: list[Service], rounds: range) -> None:
    """Who pays while another is given the money back gets 201 or 409, and the bill says which."""
    for _ in rounds:
        order = new_order_id()
        payment_id = booked(shared_pair[0].pay(order))
        guests = [partial(shared_pair[n % 2].pay, order, n + 2) for n in range(4)]
        clicks = [partial(shared_pair[n % 2].refund, payment_id) for n in range(4)]
        answers = race([each for pair in zip(clicks, guests, strict=True) for each in pair])
        refunded, paid = answers[::2], answers[1::2]
        assert codes(refunded) == {201: 1, 409: 3}
        assert codes(paid)[201] <= 1
        again = codes(paid)[201] == 1
        assert bill_of(shared_pair[0], order)[:2] == (20_000, 20_000 if again else 0)
        listed = shared_pair[1].http.get("/payments", params={"order_id": order}).json()["payments"]
        assert sorted((each["status"], each["amount_refunded"]) for each in listed) == sorted(
            [("refunded", 20_000), *([("paid", 0)] if again else [])]
        )
