"""The rules of booking: examples to read, and any batches of requests whatever."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.core.errors import (
    BillExceeded,
    BillSettled,
    BillTotalDiffers,
    KeyReused,
    MoveNotAllowed,
    OrderTotalTooSmall,
    PaymentError,
    PaymentNotFound,
    RefundedDiffers,
    RefundTooLarge,
)
from payment.core.neighbours import ORDER, USER, Neighbour
from payment.core.states import MOVES, Method, Status
from payment.core.units import WHOLE_NUMBER_MAX
from payment.ledger.answers import PaymentAnswer, RefundAnswer
from payment.ledger.audience import Notification
from payment.ledger.booking import (
    BookingRequest,
    BookingResult,
    Books,
    PaymentRequest,
    RefundRequest,
    Renderers,
    Settling,
    Writes,
    decide,
    receipt,
)
from payment.ledger.idempotency import BookedAnswer, Key, UsedKey, fingerprint
from payment.ledger.records import Bill, Payment, Refund
from payment.ledger.rows import PAYMENTS

NOW_US = 1_700_000_000_000_000
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
RENDERERS = Renderers(payment=PaymentAnswer().text, refund=RefundAnswer().text)


@dataclass
class Ledger:
    """What a database would hold: each batch's writes are fed to the next one."""

    ids: Iterator[int] = field(default_factory=lambda: count(1))
    refund_ids: Iterator[int] = field(default_factory=lambda: count(1))
    books: Books = field(default_factory=Books)
    written: Writes = field(default_factory=Writes)
    now_us: int = NOW_US

    def decide(self, requests: Sequence[BookingRequest]) -> list[BookingResult]:
        """Decide a batch, and write what it writes."""
        outcomes, writes = decide(requests, self.books, RENDERERS, self.ids, self.refund_ids, self.now_us)
        for bill in writes.bills:
            assert bill.order_id not in self.books.bills, "the primary key of `bills` refuses this"
        for key, answer in writes.keys:
            assert key.identity not in self.books.used_keys, (
                "the primary key of `idempotency_keys` refuses this"
            )
            self.books.used_keys[key.identity] = UsedKey(key.fingerprint, answer)
        for payment in writes.changed_payments:
            updated = replace(self.books.payments[payment.id], **PAYMENTS.to_changed_row(payment))
            assert updated == payment, "the UPDATE leaves out what is said to be fixed"
        for bill in [*writes.bills, *writes.changed_bills]:
            self.books.bills[bill.order_id] = bill
        for payment in [*writes.payments, *writes.changed_payments]:
            self.books.payments[payment.id] = payment
        newest = {payment.user_id: payment.id for payment in sorted(self.payments, key=lambda p: p.id)}
        self.books.newest = set(newest.values())
        self.written.bills += writes.bills
        self.written.payments += writes.payments
        self.written.refunds += writes.refunds
        self.written.keys += writes.keys
        self.written.notifications += writes.notifications
        self.written.changed_bills += writes.changed_bills
        self.written.changed_payments += writes.changed_payments
        return outcomes

    @property
    def payments(self) -> list[Payment]:
        """Return every payment as it is now."""
        return list(self.books.payments.values())

    def news_since(self, before: int) -> list[tuple[Neighbour, int]]:
        """Return who was told of something after the first `before` notifications."""
        return [(news.neighbour, news.target_id) for news in self.written.notifications[before:]]


def pay(
    order_id: int = 1,
    user_id: int = 1,
    amount: int = 20_000,
    method: Method = Method.CASH,
    status: Status = Status.PAID,
    order_total: int | None = None,
    key: str | None = None,
    caller: str = "",
) -> PaymentRequest:
    request = PaymentRequest(
        order_id=order_id,
        user_id=user_id,
        amount=amount,
        method=method,
        status=status,
        order_total=order_total,
        traceparent=TRACE,
    )
    return replace(request, key=_key("create_payment", key, caller, request))


def later(amount: int = 20_000, **changes: int) -> PaymentRequest:
    return replace(pay(amount=amount, status=Status.PENDING), **changes)  # type: ignore[arg-type]


def settle(payment_id: int, status: Status = Status.PAID, key: str | None = None) -> Settling:
    request = Settling(payment_id, status, traceparent=TRACE)
    return replace(request, key=_key("settle_payment", key, "", request))


def refund(
    payment_id: int, amount: int | None = None, expected_refunded: int | None = None, key: str | None = None
) -> RefundRequest:
    request = RefundRequest(payment_id, amount, "salah pesan", expected_refunded, traceparent=TRACE)
    return replace(request, key=_key("create_refund", key, "", request))


def _key(operation: str, key: str | None, caller: str, request: BookingRequest) -> Key | None:
    return Key(caller, operation, key, fingerprint({"request": repr(request)})) if key else None


def answers(outcomes: Sequence[BookingResult]) -> list[BookedAnswer]:
    assert all(isinstance(outcome, BookedAnswer) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, BookedAnswer)]


def refusals(outcomes: Sequence[BookingResult]) -> list[PaymentError]:
    assert all(isinstance(outcome, PaymentError) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, PaymentError)]


def comparable(outcome: BookingResult) -> object:
    """Two exceptions are never equal; what they say is."""
    if isinstance(outcome, BookedAnswer):
        return outcome
    return (type(outcome), outcome.status, outcome.field, outcome.facts)


def payment_id_of(answer: BookedAnswer) -> int:
    return int(json.loads(answer.body)["payment_id"])


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
            Notification(ORDER, target_id=3, payment_id=7, traceparent=TRACE),
            Notification(USER, target_id=5, payment_id=7, traceparent=TRACE),
        ],
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
    assert {news.traceparent for news in ledger.written.notifications} <= {TRACE}


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


def test_of_paid_and_failed_that_come_together_the_first_wins() -> None:
    ledger = Ledger()
    ledger.decide([later()])
    first, second = ledger.decide([settle(1, Status.FAILED), settle(1, Status.PAID)])
    assert isinstance(first, BookedAnswer)
    assert isinstance(second, MoveNotAllowed)
    assert second.facts == {"status": "failed", "wanted": "paid"}


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
    given = Refund(1, payment_id=1, amount=5_000, reason="salah pesan", created_us=NOW_US, refunded_before=0)
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
