"""Double clicks and repeated keys that really race, in one process and in two: one books."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from sqlalchemy import make_url, text

from payment.storage.opening import open_database
from payment_life import new_order_id
from processes import Service

Result = TypeVar("Result")
CLICKS = 12
ROUNDS = 25


def race(calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """Make all calls at the same moment, each in a thread of its own."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Result]) -> Result:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def orders() -> list[int]:
    """Return an order for each round."""
    return [new_order_id() for _ in range(ROUNDS)]


def test_of_double_clicks_without_a_key_one_books(shared_pair: list[Service]) -> None:
    paid = orders()
    for order_id in paid:
        clicks = [
            lambda service=shared_pair[n % 2], order_id=order_id: service.pay(order_id) for n in range(CLICKS)
        ]
        answers = race(clicks)
        assert Counter(answer.status_code for answer in answers) == {201: 1, 409: CLICKS - 1}
    assert_one_payment_each(shared_pair[0], paid)


def test_of_double_clicks_with_a_key_one_books_and_the_others_replay(shared_pair: list[Service]) -> None:
    paid = orders()
    for order_id in paid:
        clicks = [
            lambda service=shared_pair[n % 2], order_id=order_id: service.pay(
                order_id, Idempotency_Key=f"guest-{order_id}"
            )
            for n in range(CLICKS)
        ]
        answers = race(clicks)
        assert {answer.status_code for answer in answers} == {201}
        assert len({(answer.content, answer.headers["location"]) for answer in answers}) == 1
        replayed = Counter(answer.headers.get("idempotency-replayed") for answer in answers)
        assert replayed == {"true": CLICKS - 1, None: 1}
    assert_one_payment_each(shared_pair[0], paid)


def test_of_two_bodies_with_one_key_one_books_and_the_other_is_422(shared_pair: list[Service]) -> None:
    paid = orders()
    for n in paid:
        clicks = [
            lambda service=service, amount=amount, n=n: service.pay(
                n, amount=amount, Idempotency_Key=f"key-{n}"
            )
            for amount, service in enumerate(shared_pair * 3, start=1)
        ]
        statuses = Counter(answer.status_code for answer in race(clicks))
        assert statuses == {201: 1, 422: 5}
    assert_one_payment_each(shared_pair[0], paid)


def assert_one_payment_each(service: Service, orders: list[int]) -> None:
    of_these = f"BETWEEN {orders[0]} AND {orders[-1]}"
    database = open_database(make_url(service.environment["DATABASE_URL"]))
    with database.read() as connection:
        payments = connection.execute(
            text(f"SELECT order_id, count(*) FROM payments WHERE order_id {of_these} GROUP BY 1 ORDER BY 1")
        )
        assert [tuple(row) for row in payments] == [(order_id, 1) for order_id in orders]
        ids = f"SELECT id FROM payments WHERE order_id {of_these}"
        news = connection.execute(
            text(f"SELECT service, count(*) FROM notifications WHERE payment_id IN ({ids}) GROUP BY 1")
        )
        assert {row[0]: row[1] for row in news} == {"order": len(orders), "user": len(orders)}
        assert connection.execute(text("SELECT count(*) FROM bills WHERE paid <> total")).scalar_one() == 0
    database.close()
