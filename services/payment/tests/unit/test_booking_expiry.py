"""When a payment that waits expires: as it says, else after as long as the service lets it wait."""

from dataclasses import replace

import pytest

from books_in_memory import NOW_US, Ledger, answers, later, pay, refusals
from payment.core.errors import ExpiryInvalid
from payment.core.units import DAY_US
from payment.ledger.idempotency import Key
from payment.ledger.requests import PaymentRequest


def until(expires_us: int) -> PaymentRequest:
    return replace(later(), expires_us=expires_us)


@pytest.mark.parametrize("ahead_us", [1, DAY_US, 30 * DAY_US])
def test_a_payment_that_waits_says_until_when(ahead_us: int) -> None:
    ledger = Ledger()
    answers(ledger.decide([replace(until(NOW_US + ahead_us), waits_us=5)]))
    assert ledger.payments[0].expires_us == NOW_US + ahead_us


def test_one_that_does_not_say_waits_as_long_as_the_service_lets_it() -> None:
    ledger = Ledger()
    answers(
        ledger.decide(
            [replace(later(), waits_us=DAY_US), replace(pay(2), waits_us=DAY_US), later(order_id=3)]
        )
    )
    assert [each.expires_us for each in ledger.payments] == [NOW_US + DAY_US, None, None]


@pytest.mark.parametrize(
    "request_",
    [
        until(NOW_US - 1),
        until(NOW_US),
        until(NOW_US + 30 * DAY_US + 1),
        replace(pay(), expires_us=NOW_US + DAY_US),
    ],
)
def test_what_is_past_too_far_ahead_or_paid_already_is_refused(request_: PaymentRequest) -> None:
    ledger = Ledger()
    (refusal,) = refusals(ledger.decide([request_]))
    assert isinstance(refusal, ExpiryInvalid)
    assert (refusal.status, refusal.field) == (400, "expires_at")
    assert ledger.books.bills == {}


def test_the_same_request_again_gets_its_answer_also_when_that_time_has_passed() -> None:
    ledger = Ledger()
    keyed = replace(until(NOW_US + 5), key=Key("", "create_payment", "k", "f"))
    (first,) = answers(ledger.decide([keyed]))
    ledger.now_us += DAY_US
    assert answers(ledger.decide([keyed])) == [replace(first, replayed=True)]
