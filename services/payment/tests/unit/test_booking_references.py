"""The rules of references: what a provider calls a payment or a refund is that of one."""

import pytest

from books_in_memory import Ledger, answers, later, pay, refund, refusals, settle
from payment.core.errors import (
    MoveNotAllowed,
    PaymentError,
    ReferenceDiffers,
    ReferenceTaken,
    RefundReferenceTaken,
)
from payment.core.states import EventType, Method, Status
from payment.ledger.requests import BookingRequest

QRIS = Method.QRIS


def refused(ledger: Ledger, request: BookingRequest, error: type[PaymentError]) -> PaymentError:
    """Have a request refused by this error, which changes nothing."""
    before = ledger.payments, dict(ledger.books.bills), len(ledger.written.happened)
    (refusal,) = refusals(ledger.decide([request]))
    assert type(refusal) is error
    assert before == (ledger.payments, ledger.books.bills, len(ledger.written.happened))
    return refusal


@pytest.mark.parametrize("status", [Status.PAID, Status.PENDING])
def test_a_callback_that_comes_twice_books_once_and_is_told_what_it_booked(status: Status) -> None:
    ledger = Ledger()
    answers(ledger.decide([pay(1, method=QRIS, status=status, reference="R-1")]))
    for again in (pay(1, method=QRIS, reference="R-1", key="other"), pay(2, method=QRIS, reference="R-1")):
        refusal = refused(ledger, again, ReferenceTaken)
        assert refusal.facts == {"reference": "R-1", "payment_id": 1}


def test_of_two_in_one_batch_the_first_has_it_and_nobody_else_is_in_their_way() -> None:
    ledger = Ledger()
    first, second, other = ledger.decide([pay(1, reference="R-1"), pay(2, reference="R-1"), pay(3)])
    assert answers([first, other])
    assert type(second) is ReferenceTaken
    assert [payment.order_id for payment in ledger.payments] == [1, 3]


def test_two_methods_may_call_theirs_alike_and_capitals_count() -> None:
    ledger = Ledger()
    answers(ledger.decide([pay(1, method=QRIS, reference="R-1"), pay(2, reference="R-1")]))
    answers(ledger.decide([pay(3, reference="r-1")]))


def test_what_failed_lets_its_reference_go() -> None:
    ledger = Ledger()
    ledger.decide([pay(1, status=Status.PENDING, reference="R-1")])
    failed, again = ledger.decide([settle(1, Status.FAILED), pay(2, reference="R-1")])
    assert answers([failed, again])
    assert [payment.reference for payment in ledger.payments] == ["R-1", "R-1"]


def test_a_payment_gets_its_reference_when_it_is_settled() -> None:
    ledger = Ledger()
    ledger.decide([later()])
    answers(ledger.decide([settle(1, reference="R-1")]))
    assert ledger.payments[0].reference == "R-1"
    assert [each.types for each in ledger.written.happened][1:] == [(EventType.PAYMENT_PAID,)]
    refused(ledger, pay(2, reference="R-1"), ReferenceTaken)


def test_the_same_settlement_again_changes_nothing_and_another_reference_is_refused() -> None:
    ledger = Ledger()
    ledger.decide([later()])
    (first,) = answers(ledger.decide([settle(1, reference="R-1")]))
    happened = len(ledger.written.happened)
    ledger.now_us += 1
    assert ledger.decide([settle(1, reference="R-1"), settle(1), settle(1, reference="R-1")]) == [first] * 3
    assert len(ledger.written.happened) == happened
    refusal = refused(ledger, settle(1, reference="R-2"), ReferenceDiffers)
    assert refusal.facts == {"payment_id": 1, "reference": "R-1", "given": "R-2"}
    refused(ledger, settle(1, Status.FAILED, reference="R-2"), ReferenceDiffers)
    refused(ledger, settle(1, Status.FAILED, reference="R-1"), MoveNotAllowed)


def test_a_payment_that_waits_under_a_reference_is_settled_by_no_other() -> None:
    ledger = Ledger()
    ledger.decide([pay(1, status=Status.PENDING, reference="R-1")])
    refused(ledger, settle(1, reference="R-2"), ReferenceDiffers)
    answers(ledger.decide([settle(1, reference="R-1")]))


@pytest.mark.parametrize("status", [Status.PAID, Status.FAILED])
def test_one_that_was_settled_without_gets_the_reference_that_comes_later(status: Status) -> None:
    """Somebody clicked, and then the provider's callback came."""
    ledger = Ledger()
    ledger.decide([later()])
    ledger.decide([settle(1, status)])
    news, settled_us = len(ledger.written.notifications), ledger.payments[0].settled_us
    ledger.now_us += 1
    answers(ledger.decide([settle(1, status, reference="R-1")]))
    (payment,) = ledger.payments
    assert (payment.status, payment.reference) == (status, "R-1")
    assert (payment.updated_us, payment.settled_us) == (ledger.now_us, settled_us)
    assert ledger.written.happened[-1].types == (EventType.PAYMENT_REFERENCED,)
    assert ledger.written.happened[-1].resource == payment
    assert len(ledger.written.notifications) == news, "that is no news for Order and User"


def test_a_reference_that_another_payment_has_settles_nothing() -> None:
    ledger = Ledger()
    ledger.decide([pay(1, reference="R-1"), later(order_id=2)])
    assert refused(ledger, settle(2, reference="R-1"), ReferenceTaken).facts["payment_id"] == 1
    answers(ledger.decide([settle(2, Status.FAILED, reference="R-1")]))
    answers(ledger.decide([later(order_id=3)]))
    first, second = ledger.decide([settle(3), settle(3, reference="R-1")])
    assert answers([first])
    assert type(second) is ReferenceTaken


def test_a_refund_that_comes_twice_gives_back_once() -> None:
    ledger = Ledger()
    ledger.decide([pay(1, reference="R-1"), pay(2), pay(3, method=QRIS)])
    first, again = ledger.decide([refund(1, 5, reference="R-1"), refund(1, 5, reference="R-1")])
    assert answers([first]), "it may be called like its payment"
    assert type(again) is RefundReferenceTaken
    assert again.facts == {"reference": "R-1", "payment_id": 1, "refund_id": 1}
    refused(ledger, refund(2, reference="R-1"), RefundReferenceTaken)
    answers(ledger.decide([refund(3, reference="R-1"), refund(1, reference="R-2")]))
    refused(ledger, refund(1, reference="R-2"), RefundReferenceTaken)
