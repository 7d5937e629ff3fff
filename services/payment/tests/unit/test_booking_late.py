"""The rules of late money: a payment that failed is paid after all, or its money waits for somebody."""

import pytest

from books_in_memory import NOW_US, RENDERERS, Ledger, answers, later, pay, refund, refusals, resolve, settle
from payment.core.errors import (
    LateMoneyNotFound,
    LateMoneyResolved,
    LatePayment,
    MoveNotAllowed,
    PaymentNotFound,
    ReferenceDiffers,
    ReferenceTaken,
)
from payment.core.neighbours import ORDER, USER
from payment.core.states import EventType, Resolution, Status
from payment.ledger.idempotency import BookedAnswer
from payment.ledger.records import Bill, LateMoney

LATE_US = NOW_US + 5


def expired(**more: object) -> Ledger:
    """Return books with a payment that has failed."""
    ledger = Ledger()
    ledger.decide([pay(status=Status.PENDING, **more)])  # type: ignore[arg-type]  # what a payment has
    ledger.decide([settle(1, Status.FAILED)])
    ledger.now_us = LATE_US
    return ledger


def came_late(reference: str | None = None) -> Ledger:
    """Return books in which its money came when another had paid."""
    ledger = expired()
    answers(ledger.decide([pay(user_id=2)]))
    (refusal,) = refusals(ledger.decide([settle(1, reference=reference)]))
    assert type(refusal) is LatePayment
    return ledger


def types_of(ledger: Ledger) -> list[EventType]:
    return [each.types[-1] for each in ledger.written.happened]


def test_a_payment_that_failed_is_paid_after_all_while_its_bill_has_room() -> None:
    ledger = expired()
    news = len(ledger.written.notifications)
    (answer,) = answers(ledger.decide([settle(1)]))
    (payment,) = ledger.payments
    assert answer == BookedAnswer(200, "", RENDERERS.payment(payment))
    assert (payment.status, payment.settled_us, payment.late) == (Status.PAID, LATE_US, False)
    assert ledger.books.bills[1] == Bill(1, total=20_000, paid=20_000, pending=0)
    assert ledger.news_since(news) == [(ORDER, 1), (USER, 1)]
    assert types_of(ledger)[-2:] == [EventType.PAYMENT_FAILED, EventType.PAYMENT_PAID]
    assert ledger.books.late == {}


def test_money_that_the_bill_has_no_room_for_is_kept_and_not_booked() -> None:
    ledger = came_late("R-1")
    payment = ledger.payments[0]
    assert (payment.status, payment.late, payment.reference) == (Status.FAILED, True, "R-1")
    assert payment.updated_us == LATE_US
    assert ledger.books.late == {1: LateMoney(1, 20_000, came_us=LATE_US)}
    assert ledger.books.bills[1] == Bill(1, total=20_000, paid=20_000, pending=0)
    assert types_of(ledger)[-1] is EventType.PAYMENT_LATE
    assert ledger.written.happened[-1].resource == payment
    assert ledger.news_since(6) == [], "Order and User know that it failed"


def test_a_part_is_late_if_less_than_it_is_left() -> None:
    ledger = Ledger()
    ledger.decide([later(60, order_total=100), pay(amount=30, order_total=100)])
    ledger.decide([settle(1, Status.FAILED), later(11, order_total=100)])
    late, after = ledger.decide([settle(1), settle(3, Status.FAILED)])
    assert type(late) is LatePayment
    assert answers([after])
    assert answers(ledger.decide([settle(1)])), "there is room by now"
    assert ledger.books.bills[1] == Bill(1, total=100, paid=90, pending=0)


def test_the_same_again_changes_nothing_and_is_answered_the_same() -> None:
    ledger = came_late("R-1")
    before = ledger.payments, dict(ledger.books.late), len(ledger.written.happened)
    ledger.now_us += 1
    for again in refusals(ledger.decide([settle(1, reference="R-1"), settle(1)])):
        assert type(again) is LatePayment
        assert again.facts == {"payment_id": 1, "order_id": 1}
    assert before == (ledger.payments, ledger.books.late, len(ledger.written.happened))


def test_late_money_whose_callback_comes_again_when_there_is_room_is_booked() -> None:
    ledger = came_late()
    answers(ledger.decide([refund(2)]))
    answers(ledger.decide([settle(1)]))
    assert (ledger.payments[0].status, ledger.payments[0].late) == (Status.PAID, False)
    assert ledger.books.late[1].resolution is Resolution.BOOKED
    assert ledger.books.bills[1] == Bill(1, total=20_000, paid=20_000, pending=0)
    assert types_of(ledger)[-2:] == [EventType.LATE_RESOLVED, EventType.PAYMENT_PAID]


@pytest.mark.parametrize("resolution", Resolution)
def test_somebody_says_once_what_became_of_it(resolution: Resolution) -> None:
    ledger = came_late()
    ledger.now_us += 1
    (first, again) = answers(ledger.decide([resolve(1, resolution, "RF-1")] * 2))
    late = LateMoney(1, 20_000, LATE_US, resolution, "RF-1", LATE_US + 1)
    assert ledger.books.late == {1: late}
    assert first == again == BookedAnswer(200, "", RENDERERS.late(late))
    assert not ledger.payments[0].late
    assert types_of(ledger)[-1] is EventType.LATE_RESOLVED
    other = next(each for each in Resolution if each is not resolution)
    for request in (resolve(1, other, "RF-1"), resolve(1, resolution)):
        (refusal,) = refusals(ledger.decide([request]))
        assert isinstance(refusal, LateMoneyResolved)
        assert refusal.facts == {"payment_id": 1, "resolution": resolution.value}


def test_what_was_said_of_it_stays_said_though_the_callback_comes_once_more() -> None:
    """Else money that was given back would be booked."""
    ledger = came_late()
    answers(ledger.decide([resolve(1), refund(2)]))
    before = ledger.payments, dict(ledger.books.late), len(ledger.written.happened)
    (refusal,) = refusals(ledger.decide([settle(1)]))
    assert type(refusal) is LatePayment
    assert before == (ledger.payments, ledger.books.late, len(ledger.written.happened))


def test_it_can_come_and_be_resolved_in_one_batch() -> None:
    ledger = expired()
    late, resolved = ledger.decide([pay(user_id=2), settle(1), resolve(1)])[1:]
    assert type(late) is LatePayment
    assert answers([resolved])
    assert (len(ledger.written.late), ledger.payments[0].late) == (1, False)


def test_where_none_came_late_there_is_nothing_to_say() -> None:
    ledger = expired()
    for request, error in ((resolve(1), LateMoneyNotFound), (resolve(9), PaymentNotFound)):
        (refusal,) = refusals(ledger.decide([request]))
        assert type(refusal) is error


def test_money_whose_reference_another_payment_has_by_now_is_that_payments() -> None:
    """One transaction, one payment: the money is booked there, so none of it came late."""
    for ledger, again in ((expired(reference="R-1"), settle(1)), (expired(), settle(1, reference="R-1"))):
        answers(ledger.decide([pay(2, reference="R-1")]))
        (refusal,) = refusals(ledger.decide([again]))
        assert type(refusal) is ReferenceTaken
        assert refusal.facts["payment_id"] == 2
        assert ledger.books.late == {}
        assert ledger.payments[0].status is Status.FAILED


def test_late_money_of_another_name_is_refused_by_its_name() -> None:
    ledger = came_late("R-1")
    (refusal,) = refusals(ledger.decide([settle(1, reference="R-2")]))
    assert type(refusal) is ReferenceDiffers


def test_late_money_gets_the_name_that_its_callback_brings_later() -> None:
    ledger = came_late()
    (refusal,) = refusals(ledger.decide([settle(1, reference="R-1")]))
    assert type(refusal) is LatePayment
    assert (ledger.payments[0].reference, ledger.payments[0].late) == ("R-1", True)
    assert types_of(ledger)[-1] is EventType.PAYMENT_REFERENCED
    assert ledger.books.late == {1: LateMoney(1, 20_000, came_us=LATE_US)}


def test_what_was_given_back_is_not_paid_again() -> None:
    ledger = expired()
    ledger.decide([settle(1), refund(1)])
    (refusal,) = refusals(ledger.decide([settle(1)]))
    assert type(refusal) is MoveNotAllowed
