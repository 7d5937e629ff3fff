"""The rules of booking, held against any batches of requests whatever."""

from collections import Counter
from copy import deepcopy
from dataclasses import replace
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from books_in_memory import CAUSE, NOW_US, RENDERERS, Ledger, comparable, pay, payment_id_of, refund, settle
from payment.core.errors import (
    BillSettled,
    KeyReused,
)
from payment.core.neighbours import ORDER, USER
from payment.core.states import Method, Status
from payment.core.units import WHOLE_NUMBER_MAX
from payment.ledger.booking import decide
from payment.ledger.idempotency import BookedAnswer
from payment.ledger.requests import BookingRequest, PaymentRequest, RefundRequest, Settling

# Few orders, guests, amounts and keys, so that requests collide all the time.
requests_ = st.builds(
    pay,
    order_id=st.integers(1, 4),
    user_id=st.integers(1, 2),
    amount=st.sampled_from([1, 20_000, WHOLE_NUMBER_MAX]),
    method=st.sampled_from([Method.CASH, Method.QRIS]),
    key=st.none() | st.sampled_from(["a", "b", "c"]),
    caller=st.sampled_from(["", "front end"]),
)
days = st.lists(st.lists(requests_, max_size=8), max_size=4)


@given(days)
def test_each_order_is_paid_once_whatever_comes(day: list[list[PaymentRequest]]) -> None:
    ledger = Ledger()
    for batch in day:
        ledger.decide(batch)
    paid: Counter[int] = Counter()
    for payment in ledger.written.payments:
        paid[payment.order_id] += payment.amount
    assert len(ledger.written.bills) == len(ledger.books.bills), "one bill an order"
    assert {bill.order_id: bill.paid for bill in ledger.written.bills} == dict(paid)
    for bill in ledger.written.bills:
        assert bill.paid + bill.pending <= bill.total
        assert bill.is_settled
    asked_for = {request.order_id for batch in day for request in batch if request.key is None}
    assert asked_for <= ledger.books.bills.keys(), (
        "an order that somebody pays without a key is paid in the end"
    )


@given(days)
def test_every_201_is_one_payment_and_every_payment_one_201(day: list[list[PaymentRequest]]) -> None:
    ledger = Ledger()
    booked: list[tuple[PaymentRequest, BookedAnswer]] = []
    for batch in day:
        for request, outcome in zip(batch, ledger.decide(batch), strict=True):
            if isinstance(outcome, BookedAnswer) and not outcome.replayed:
                booked.append((request, outcome))
    assert [payment_id_of(answer) for _, answer in booked] == [p.id for p in ledger.written.payments]
    assert [p.id for p in ledger.written.payments] == list(range(1, len(booked) + 1))
    assert next(ledger.ids) == len(booked) + 1, "an id is taken for each payment, and for nothing else"
    for (request, answer), payment in zip(booked, ledger.written.payments, strict=True):
        assert (answer.status, answer.location) == (201, f"/payments/{payment.id}")
        assert (payment.order_id, payment.user_id) == (request.order_id, request.user_id)
        assert (payment.amount, payment.method) == (request.amount, request.method)
        assert (payment.status, payment.created_us, payment.updated_us) == (Status.PAID, NOW_US, NOW_US)


@given(days)
def test_order_and_user_hear_of_each_payment_exactly_once(day: list[list[PaymentRequest]]) -> None:
    ledger = Ledger()
    for batch in day:
        ledger.decide(batch)
    heard = Counter(
        (news.neighbour, news.target_id, news.payment_id) for news in ledger.written.notifications
    )
    assert heard == Counter(
        told
        for payment in ledger.written.payments
        for told in (
            (ORDER, payment.order_id, payment.id),
            (USER, payment.user_id, payment.id),
        )
    )
    assert {news.cause for news in ledger.written.notifications} <= {CAUSE}


@given(days)
def test_a_key_gives_one_answer_for_ever_and_only_for_its_own_body(day: list[list[PaymentRequest]]) -> None:
    ledger = Ledger()
    first: dict[tuple[str, str, str], tuple[str, BookedAnswer]] = {}
    for batch in day:
        for request, outcome in zip(batch, ledger.decide(batch), strict=True):
            if request.key is None:
                assert not (isinstance(outcome, BookedAnswer) and outcome.replayed)
                assert not isinstance(outcome, KeyReused)
            elif request.key.identity in first:
                body, answer = first[request.key.identity]
                if body == request.key.fingerprint:
                    assert outcome == replace(answer, replayed=True)
                else:
                    assert isinstance(outcome, KeyReused)
            elif isinstance(outcome, BookedAnswer):
                assert not outcome.replayed
                first[request.key.identity] = (request.key.fingerprint, outcome)
            else:
                assert isinstance(outcome, BillSettled)
    assert {key.identity: answer for key, answer in ledger.written.keys} == {
        identity: answer for identity, (_, answer) in first.items()
    }
    assert len(ledger.written.keys) == len(first)


# What may come after that: some of it names payments that are there, some keys that were used.
changes_ = st.builds(
    settle,
    payment_id=st.integers(1, 8),
    status=st.sampled_from([Status.PAID, Status.FAILED]),
    key=st.sampled_from([None, None, "a", "b"]),
) | st.builds(
    refund,
    payment_id=st.integers(1, 8),
    amount=st.sampled_from([None, 1, 9_000, 20_001]),
    expected_refunded=st.sampled_from([None, None, 0, 9_000]),
    key=st.sampled_from([None, None, "a", "b"]),
)
parts_ = st.builds(
    pay,
    order_id=st.integers(1, 3),
    user_id=st.integers(1, 2),
    amount=st.sampled_from([9_000, 20_000]),
    status=st.sampled_from([Status.PAID, Status.PENDING]),
    order_total=st.sampled_from([None, 60_000, 60_000]),
    key=st.sampled_from([None, None, "a", "b"]),
)
mornings = st.lists(parts_, min_size=4, max_size=8)
evenings = st.lists(changes_, max_size=10)
anything: st.SearchStrategy[list[BookingRequest]] = st.lists(st.one_of(parts_, changes_), max_size=8)


@given(mornings, anything)
def test_refusals_and_replays_write_nothing(
    morning: list[PaymentRequest], batch: list[BookingRequest]
) -> None:
    """A batch writes what those of its requests write that are booked, as if no other had come."""
    ledger = Ledger()
    ledger.decide(morning)
    outcomes, writes = decide(batch, ledger.books, RENDERERS, count(1000), count(1000), NOW_US)
    booked = [
        request
        for request, outcome in zip(batch, outcomes, strict=True)
        if isinstance(outcome, BookedAnswer) and not outcome.replayed
    ]
    assert decide(booked, ledger.books, RENDERERS, count(1000), count(1000), NOW_US)[1] == writes


@given(mornings, evenings)
def test_deciding_together_is_deciding_one_after_the_other(
    morning: list[PaymentRequest], evening: list[Settling | RefundRequest]
) -> None:
    """Group commit changes how fast it goes, and nothing else."""
    together, one_by_one = Ledger(), Ledger()
    at_once = [*together.decide(morning), *together.decide(evening)]
    singly = [one_by_one.decide([request])[0] for request in [*morning, *evening]]
    assert [comparable(o) for o in at_once] == [comparable(o) for o in singly]
    assert together.books == one_by_one.books
    assert together.written.refunds == one_by_one.written.refunds
    assert together.written.notifications == one_by_one.written.notifications


@given(mornings, anything)
def test_deciding_changes_nothing_that_it_was_given(
    morning: list[PaymentRequest], batch: list[BookingRequest]
) -> None:
    """The batch may have to be decided again, if the database refuses it."""
    ledger = Ledger()
    ledger.decide(morning)
    before = deepcopy(ledger.books)
    once = decide(batch, ledger.books, RENDERERS, count(1000), count(1000), NOW_US)
    assert ledger.books == before
    again = decide(batch, ledger.books, RENDERERS, count(1000), count(1000), NOW_US)
    assert [comparable(o) for o in once[0]] == [comparable(o) for o in again[0]]
    assert once[1] == again[1]


@given(mornings, st.lists(anything, max_size=4))
def test_a_bill_is_what_its_payments_add_up_to(
    morning: list[PaymentRequest], batches: list[list[BookingRequest]]
) -> None:
    ledger = Ledger()
    ledger.decide(morning)
    for batch in batches:
        ledger.decide(batch)
    for bill in ledger.books.bills.values():
        of_order = [payment for payment in ledger.payments if payment.order_id == bill.order_id]
        paid = [payment for payment in of_order if payment.status is Status.PAID]
        pending = [payment for payment in of_order if payment.status is Status.PENDING]
        assert bill.paid == sum(payment.amount for payment in paid)
        assert bill.pending == sum(payment.amount for payment in pending)
        assert bill.refunded == sum(payment.amount_refunded for payment in paid)
        assert 0 <= bill.paid + bill.pending <= bill.total
        assert bill.remaining == bill.total - bill.paid - bill.pending
        assert 0 <= bill.net_paid <= bill.paid
    given: Counter[int] = Counter()
    for item in ledger.written.refunds:
        given[item.payment_id] += item.amount
    for payment in ledger.payments:
        assert payment.amount_refunded == given[payment.id] <= payment.amount
        assert (payment.status is Status.REFUNDED) == (payment.amount_refunded == payment.amount)
