"""The rules of a payment's later life: settled later, a bill in parts, refunds."""

from dataclasses import replace

import pytest

from books_in_memory import NOW_US, RENDERERS, Ledger, answers, later, pay, refund, refusals, settle
from payment.core.errors import (
    BillExceeded,
    BillSettled,
    BillTotalDiffers,
    KeyReused,
    MoveNotAllowed,
    OrderTotalTooSmall,
    PaymentNotFound,
    RefundedDiffers,
    RefundTooLarge,
)
from payment.core.neighbours import ORDER, USER
from payment.core.states import MOVES, Method, Status
from payment.ledger.idempotency import BookedAnswer
from payment.ledger.records import Bill, Refund
from payment.ledger.requests import RefundRequest, Settling

# --- settled later -----------------------------------------------------------------------------------


def test_a_payment_that_waits_holds_its_part_and_is_paid_later() -> None:
    ledger = Ledger()
    answers(ledger.decide([later()]))
    assert ledger.books.bills[1] == Bill(1, total=20_000, paid=0, pending=20_000)
    ledger.now_us += 1
    (answer,) = answers(ledger.decide([settle(1)]))
    assert ledger.books.bills[1] == Bill(1, total=20_000, paid=20_000, pending=0)
    (payment,) = ledger.payments
    assert (payment.status, payment.updated_us, payment.settled_us) == (Status.PAID, NOW_US + 1, NOW_US + 1)
    assert payment.created_us == NOW_US
    assert answer == BookedAnswer(200, "", RENDERERS.payment(payment))
    assert ledger.news_since(2) == [(ORDER, 1), (USER, 1)]


def test_a_payment_that_failed_holds_nothing() -> None:
    ledger = Ledger()
    ledger.decide([later()])
    ledger.decide([settle(1, Status.FAILED)])
    assert ledger.books.bills[1] == Bill(1, total=20_000, paid=0, pending=0)
    answers(ledger.decide([pay(amount=5)]))
    assert ledger.books.bills[1] == Bill(1, total=5, paid=5, pending=0)


def test_settling_twice_alike_changes_nothing_the_second_time() -> None:
    ledger = Ledger()
    ledger.decide([later()])
    first, again = answers(ledger.decide([settle(1), settle(1)]))
    assert again == first
    assert len(ledger.written.changed_payments) == 1
    assert len(ledger.written.notifications) == 4


def test_whether_paid_or_failed_comes_first_the_money_is_booked() -> None:
    for statuses in ([Status.FAILED, Status.PAID], [Status.PAID, Status.FAILED]):
        ledger = Ledger()
        ledger.decide([later()])
        first, second = ledger.decide([settle(1, status) for status in statuses])
        assert isinstance(first, BookedAnswer)
        if statuses[1] is Status.FAILED:
            assert isinstance(second, MoveNotAllowed)
            assert second.facts == {"status": "paid", "wanted": "failed"}
        assert ledger.payments[0].status is Status.PAID
        assert ledger.books.bills[1] == Bill(1, total=20_000, paid=20_000, pending=0)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("wanted", [Status.PAID, Status.FAILED])
def test_the_moves_are_those_of_the_table(status: Status, wanted: Status) -> None:
    ledger = Ledger()
    ledger.decide([later()])
    if status is not Status.PENDING:
        ledger.decide([settle(1, Status.FAILED if status is Status.FAILED else Status.PAID)])
    if status is Status.REFUNDED:
        ledger.decide([refund(1)])
    assert ledger.payments[0].status is status
    (outcome,) = ledger.decide([settle(1, wanted)])
    allowed = wanted in MOVES[status] or wanted is status
    assert isinstance(outcome, BookedAnswer if allowed else MoveNotAllowed)
    assert (ledger.payments[0].status is wanted) == allowed


@pytest.mark.parametrize("request_", [settle(404), refund(404)])
def test_an_unknown_payment_is_not_found(request_: Settling | RefundRequest) -> None:
    (refusal,) = refusals(Ledger().decide([request_]))
    assert isinstance(refusal, PaymentNotFound)


def test_user_hears_of_the_newest_payment_only() -> None:
    ledger = Ledger()
    ledger.decide([later(order_id=1)])
    ledger.decide([later(order_id=2)])
    before = len(ledger.written.notifications)
    ledger.decide([settle(1), settle(2)])
    assert ledger.news_since(before) == [(ORDER, 1), (ORDER, 2), (USER, 1)]


# --- a bill in parts ---------------------------------------------------------------------------------


def test_paid_and_pending_together_never_pass_the_total() -> None:
    ledger = Ledger()
    answers(ledger.decide([pay(amount=60_000, order_total=100_000), later(30_000, order_total=100_000)]))
    (refusal,) = refusals(ledger.decide([pay(amount=10_001, order_total=100_000)]))
    assert isinstance(refusal, BillExceeded)
    assert refusal.facts == {"order_id": 1, "left": 10_000}
    answers(ledger.decide([pay(amount=10_000, order_total=100_000)]))
    (refusal,) = refusals(ledger.decide([pay(amount=1, order_total=100_000)]))
    assert (type(refusal), refusal.facts["left"]) == (BillExceeded, 0)
    answers(ledger.decide([settle(2)]))
    (refusal,) = refusals(ledger.decide([pay(amount=1, order_total=100_000)]))
    assert isinstance(refusal, BillSettled)


def test_another_total_is_refused_while_something_stands() -> None:
    ledger = Ledger()
    ledger.decide([later(order_total=100_000)])
    for request, said in ((pay(amount=5, order_total=90_000), 90_000), (pay(amount=5), 5)):
        (refusal,) = refusals(ledger.decide([request]))
        assert isinstance(refusal, BillTotalDiffers)
        assert refusal.facts == {"order_id": 1, "total": 100_000, "given": said}
    ledger.decide([settle(1, Status.FAILED)])
    answers(ledger.decide([pay(amount=5, order_total=90_000)]))
    assert ledger.books.bills[1].total == 90_000


def test_a_total_below_the_payment_is_refused() -> None:
    ledger = Ledger()
    (refusal,) = refusals(ledger.decide([pay(amount=5, order_total=4)]))
    assert isinstance(refusal, OrderTotalTooSmall)
    assert (refusal.status, refusal.field, refusal.facts["amount"]) == (400, "order_total", 5)
    assert ledger.books.bills == {}


# --- refunds -----------------------------------------------------------------------------------------


def test_a_part_given_back_is_no_news_and_leaves_the_bill_settled() -> None:
    ledger = Ledger()
    ledger.decide([pay()])
    (answer,) = answers(ledger.decide([refund(1, 5_000)]))
    given = Refund(
        1,
        payment_id=1,
        amount=5_000,
        reason="salah pesan",
        created_us=NOW_US,
        refunded_before=0,
        method=Method.CASH,
    )
    assert ledger.written.refunds == [given]
    assert answer == BookedAnswer(201, "/payments/1/refunds/1", RENDERERS.refund(given))
    assert (ledger.payments[0].status, ledger.payments[0].amount_refunded) == (Status.PAID, 5_000)
    bill = ledger.books.bills[1]
    assert bill == Bill(1, total=20_000, paid=20_000, pending=0, refunded=5_000)
    assert (bill.is_settled, bill.net_paid, bill.remaining) == (True, 15_000, 0)
    assert len(ledger.written.notifications) == 2


def test_all_that_is_left_given_back_reopens_the_bill() -> None:
    ledger = Ledger()
    ledger.decide([pay(amount=60_000, order_total=80_000), pay(user_id=2, order_total=80_000)])
    answers(ledger.decide([refund(1, 10_000), refund(2, 500), refund(1)]))
    assert [item.amount for item in ledger.written.refunds] == [10_000, 500, 50_000]
    assert ledger.payments[0].status is Status.REFUNDED
    assert ledger.books.bills[1] == Bill(1, total=80_000, paid=20_000, pending=0, refunded=500)
    assert ledger.news_since(4) == [(ORDER, 1), (USER, 1)]


def test_never_more_is_given_back_than_was_paid() -> None:
    ledger = Ledger()
    ledger.decide([pay(amount=100)])
    outcomes = ledger.decide([refund(1, 30)] * 8)
    assert [isinstance(outcome, BookedAnswer) for outcome in outcomes] == [True] * 3 + [False] * 5
    refusal = outcomes[-1]
    assert isinstance(refusal, RefundTooLarge)
    assert refusal.facts == {"payment_id": 1, "left": 10}


def test_of_two_clicks_that_expect_the_same_the_second_is_refused() -> None:
    ledger = Ledger()
    ledger.decide([pay(amount=100)])
    first, second = ledger.decide([refund(1, 30, expected_refunded=0)] * 2)
    assert isinstance(first, BookedAnswer)
    assert isinstance(second, RefundedDiffers)
    assert second.facts == {"payment_id": 1, "refunded": 30, "expected": 0}


@pytest.mark.parametrize("status", [Status.PENDING, Status.FAILED])
def test_only_what_is_paid_can_be_given_back(status: Status) -> None:
    ledger = Ledger()
    ledger.decide([later()])
    if status is Status.FAILED:
        ledger.decide([settle(1, Status.FAILED)])
    (refusal,) = refusals(ledger.decide([refund(1)]))
    assert isinstance(refusal, MoveNotAllowed)
    assert refusal.facts == {"status": status, "wanted": "refunded"}


def test_a_key_replays_a_settlement_and_a_refund_whatever_came_after() -> None:
    ledger = Ledger()
    ledger.decide([later()])
    (settled,) = answers(ledger.decide([settle(1, key="k")]))
    (refunded,) = answers(ledger.decide([refund(1, key="k")]))
    assert ledger.decide([settle(1, key="k"), refund(1, key="k")]) == [
        replace(settled, replayed=True),
        replace(refunded, replayed=True),
    ]
    (outcome,) = ledger.decide([refund(1, 5, key="k")])
    assert isinstance(outcome, KeyReused)
    assert len(ledger.written.refunds) == 1
