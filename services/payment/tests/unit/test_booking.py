"""The rules of booking: examples to read, and any batches of requests whatever."""

import json
from dataclasses import replace
from itertools import count

import pytest

from books_in_memory import CAUSE, NOW_US, Ledger, answers, pay, refusals
from payment.core.errors import (
    BillSettled,
    KeyReused,
)
from payment.core.neighbours import ORDER, USER
from payment.core.states import PAID_AT_ONCE, Method, Status
from payment.ledger.audience import Notification
from payment.ledger.booking import receipt
from payment.ledger.books import Happening, Writes
from payment.ledger.idempotency import BookedAnswer
from payment.ledger.records import Bill, Payment


def test_a_payment_settles_its_order() -> None:
    ledger = Ledger(ids=count(7))
    (answer,) = answers(ledger.decide([pay(order_id=3, user_id=5, amount=20_000, method=Method.QRIS)]))
    assert answer == BookedAnswer(201, "/payments/7", '{"message":"Pembayaran diproses","payment_id":7}')
    assert ledger.written == Writes(
        bills=[Bill(order_id=3, total=20_000, paid=20_000, pending=0)],
        payments=[
            Payment(
                id=7,
                order_id=3,
                user_id=5,
                amount=20_000,
                status=Status.PAID,
                method=Method.QRIS,
                created_us=NOW_US,
                updated_us=NOW_US,
            )
        ],
        keys=[],
        notifications=[
            Notification(ORDER, target_id=3, payment_id=7, cause=CAUSE),
            Notification(USER, target_id=5, payment_id=7, cause=CAUSE),
        ],
        happened=[Happening(PAID_AT_ONCE, ledger.written.payments[0], CAUSE)],
    )


def test_a_second_payment_of_an_order_is_refused() -> None:
    ledger = Ledger()
    ledger.decide([pay(order_id=1)])
    before = replace(ledger.written)
    (refusal,) = refusals(ledger.decide([pay(order_id=1, amount=1)]))
    assert isinstance(refusal, BillSettled)
    assert (refusal.status, refusal.facts) == (409, {"order_id": 1})
    assert ledger.written == before


def test_of_two_payments_of_an_order_that_come_together_the_first_wins() -> None:
    ledger = Ledger()
    first, second = ledger.decide([pay(amount=20_000), pay(amount=30_000)])
    assert isinstance(first, BookedAnswer)
    assert isinstance(second, BillSettled)
    assert [payment.amount for payment in ledger.written.payments] == [20_000]


def test_a_refusal_does_not_touch_its_neighbours_in_the_batch() -> None:
    ledger = Ledger()
    outcomes = ledger.decide([pay(order_id=1), pay(order_id=1), pay(order_id=2)])
    assert [isinstance(outcome, BookedAnswer) for outcome in outcomes] == [True, False, True]
    assert [payment.id for payment in ledger.written.payments] == [1, 2], "no id is spent on a refusal"


def test_an_empty_batch_writes_nothing() -> None:
    ledger = Ledger()
    assert ledger.decide([]) == []
    assert ledger.written == Writes()


def test_the_same_request_again_gets_the_first_answer_again() -> None:
    ledger = Ledger()
    (first,) = answers(ledger.decide([pay(key="k")]))
    (again,) = answers(ledger.decide([pay(key="k")]))
    assert not first.replayed
    assert again == replace(first, replayed=True)
    assert len(ledger.written.payments) == 1


def test_of_two_equal_requests_that_come_together_one_books_and_one_replays() -> None:
    ledger = Ledger()
    first, again = answers(ledger.decide([pay(key="k"), pay(key="k")]))
    assert (first.replayed, again.replayed) == (False, True)
    assert first.body == again.body
    assert len(ledger.written.payments) == len(ledger.written.keys) == 1
    assert len(ledger.written.notifications) == 2, "nobody is told twice of one payment"


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in two"])
def test_a_key_used_for_another_body_is_refused_even_where_the_other_could_be_booked(
    together: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    ledger = Ledger()
    requests = [pay(order_id=1, key="k"), pay(order_id=2, key="k")]
    outcomes = ledger.decide(requests) if together else [ledger.decide([one])[0] for one in requests]
    assert isinstance(outcomes[0], BookedAnswer)
    assert isinstance(outcomes[1], KeyReused)
    assert outcomes[1].status == 422
    assert list(ledger.books.bills) == [1]


def test_a_refusal_is_not_kept_but_judged_anew() -> None:
    """The key of a refused request is free: the guest who paid the wrong order may pay the right one."""
    ledger = Ledger()
    ledger.decide([pay(order_id=1)])
    assert isinstance(ledger.decide([pay(order_id=1, key="k")])[0], BillSettled)
    assert ledger.written.keys == []
    (answer,) = answers(ledger.decide([pay(order_id=2, key="k")]))
    assert not answer.replayed


def test_two_callers_may_use_the_same_key() -> None:
    ledger = Ledger()
    outcomes = ledger.decide([pay(order_id=1, key="k", caller="a"), pay(order_id=2, key="k", caller="b")])
    assert [answer.replayed for answer in answers(outcomes)] == [False, False]


def test_the_answer_names_its_payment_in_body_and_location() -> None:
    answer = receipt(42)
    assert answer.status == 201
    assert answer.location == "/payments/42"
    assert json.loads(answer.body) == {"message": "Pembayaran diproses", "payment_id": 42}


@pytest.mark.parametrize(
    ("total", "paid", "pending", "is_settled"),
    [(10, 10, 0, True), (10, 9, 1, False), (10, 9, 0, False), (10, 0, 10, False)],
)
def test_a_bill_is_settled_once_all_of_it_is_paid(
    total: int,
    paid: int,
    pending: int,
    is_settled: bool,  # noqa: FBT001  # a column of the table
) -> None:
    assert Bill(1, total, paid, pending).is_settled is is_settled
