"""The rules of booking: examples to read, and any batches of requests whatever."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payment.booking import Bill, Outcome, Payment, PaymentRequest, Writes, decide, receipt
from payment.errors import BillSettled, KeyReused, PaymentError
from payment.idempotency import Answer, KeptAnswer, Key, fingerprint
from payment.lifecycle import Method, Status
from payment.notifications import Notification, Service
from payment.tables import WHOLE_NUMBER_MAX

NOW_US = 1_700_000_000_000_000
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@dataclass
class Books:
    """What a database would hold: each batch's writes are fed to the next one."""

    ids: Iterator[int] = field(default_factory=lambda: count(1))
    bills: dict[int, Bill] = field(default_factory=dict)
    kept: dict[tuple[str, str, str], KeptAnswer] = field(default_factory=dict)
    written: Writes = field(default_factory=Writes)

    def decide(self, requests: Sequence[PaymentRequest]) -> list[Outcome]:
        """Decide a batch, and write what it writes."""
        outcomes, writes = decide(requests, self.kept, self.bills, self.ids, NOW_US)
        for bill in writes.bills:
            assert bill.order_id not in self.bills, "the primary key of `bills` refuses this"
            self.bills[bill.order_id] = bill
        for key, answer in writes.keys:
            assert key.identity not in self.kept, "the primary key of `idempotency_keys` refuses this"
            self.kept[key.identity] = KeptAnswer(key.fingerprint, answer)
        self.written.bills += writes.bills
        self.written.payments += writes.payments
        self.written.keys += writes.keys
        self.written.notifications += writes.notifications
        return outcomes


def pay(
    order_id: int = 1,
    user_id: int = 1,
    amount: int = 20_000,
    method: Method = Method.CASH,
    key: str | None = None,
    caller: str = "",
) -> PaymentRequest:
    body = {"order_id": order_id, "user_id": user_id, "amount": amount, "method": method}
    return PaymentRequest(
        order_id=order_id,
        user_id=user_id,
        amount=amount,
        method=method,
        key=Key(caller, "create_payment", key, fingerprint(body)) if key else None,
        traceparent=TRACE,
    )


def answers(outcomes: Sequence[Outcome]) -> list[Answer]:
    assert all(isinstance(outcome, Answer) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, Answer)]


def refusals(outcomes: Sequence[Outcome]) -> list[PaymentError]:
    assert all(isinstance(outcome, PaymentError) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, PaymentError)]


def comparable(outcome: Outcome) -> object:
    """Two exceptions are never equal; what they say is."""
    if isinstance(outcome, Answer):
        return outcome
    return (type(outcome), outcome.status, outcome.field, outcome.facts)


def payment_id_of(answer: Answer) -> int:
    return int(json.loads(answer.body)["payment_id"])


def test_a_payment_settles_its_order() -> None:
    books = Books(ids=count(7))
    (answer,) = answers(books.decide([pay(order_id=3, user_id=5, amount=20_000, method=Method.QRIS)]))
    assert answer == Answer(201, "/payments/7", '{"message":"Pembayaran diproses","payment_id":7}')
    assert books.written == Writes(
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
            Notification(Service.ORDER, target_id=3, payment_id=7, traceparent=TRACE),
            Notification(Service.USER, target_id=5, payment_id=7, traceparent=TRACE),
        ],
    )


def test_a_second_payment_of_an_order_is_refused() -> None:
    books = Books()
    books.decide([pay(order_id=1)])
    before = replace(books.written)
    (refusal,) = refusals(books.decide([pay(order_id=1, amount=1)]))
    assert isinstance(refusal, BillSettled)
    assert (refusal.status, refusal.facts) == (409, {"order_id": 1})
    assert books.written == before


def test_of_two_payments_of_an_order_that_come_together_the_first_wins() -> None:
    books = Books()
    first, second = books.decide([pay(amount=20_000), pay(amount=30_000)])
    assert isinstance(first, Answer)
    assert isinstance(second, BillSettled)
    assert [payment.amount for payment in books.written.payments] == [20_000]


def test_a_refusal_does_not_touch_its_neighbours_in_the_batch() -> None:
    books = Books()
    outcomes = books.decide([pay(order_id=1), pay(order_id=1), pay(order_id=2)])
    assert [isinstance(outcome, Answer) for outcome in outcomes] == [True, False, True]
    assert [payment.id for payment in books.written.payments] == [1, 2], "no id is spent on a refusal"


def test_an_empty_batch_writes_nothing() -> None:
    books = Books()
    assert books.decide([]) == []
    assert books.written == Writes()


def test_the_same_request_again_gets_the_first_answer_again() -> None:
    books = Books()
    (first,) = answers(books.decide([pay(key="k")]))
    (again,) = answers(books.decide([pay(key="k")]))
    assert not first.replayed
    assert again == replace(first, replayed=True)
    assert len(books.written.payments) == 1


def test_of_two_equal_requests_that_come_together_one_books_and_one_replays() -> None:
    books = Books()
    first, again = answers(books.decide([pay(key="k"), pay(key="k")]))
    assert (first.replayed, again.replayed) == (False, True)
    assert first.body == again.body
    assert len(books.written.payments) == len(books.written.keys) == 1
    assert len(books.written.notifications) == 2, "nobody is told twice of one payment"


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "in two"])
def test_a_key_used_for_another_body_is_refused_even_where_the_other_could_be_booked(
    together: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    books = Books()
    requests = [pay(order_id=1, key="k"), pay(order_id=2, key="k")]
    outcomes = books.decide(requests) if together else [books.decide([one])[0] for one in requests]
    assert isinstance(outcomes[0], Answer)
    assert isinstance(outcomes[1], KeyReused)
    assert outcomes[1].status == 422
    assert list(books.bills) == [1]


def test_a_refusal_is_not_kept_but_judged_anew() -> None:
    """The key of a refused request is free: the guest who paid the wrong order may pay the right one."""
    books = Books()
    books.decide([pay(order_id=1)])
    assert isinstance(books.decide([pay(order_id=1, key="k")])[0], BillSettled)
    assert books.written.keys == []
    (answer,) = answers(books.decide([pay(order_id=2, key="k")]))
    assert not answer.replayed


def test_two_callers_may_use_the_same_key() -> None:
    books = Books()
    outcomes = books.decide([pay(order_id=1, key="k", caller="a"), pay(order_id=2, key="k", caller="b")])
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
bounded = settings(max_examples=100, deadline=None)


@bounded
@given(days)
def test_each_order_is_paid_once_whatever_comes(day: list[list[PaymentRequest]]) -> None:
    books = Books()
    for batch in day:
        books.decide(batch)
    paid: Counter[int] = Counter()
    for payment in books.written.payments:
        paid[payment.order_id] += payment.amount
    assert len(books.written.bills) == len(books.bills), "one bill an order"
    assert {bill.order_id: bill.paid for bill in books.written.bills} == dict(paid)
    for bill in books.written.bills:
        assert bill.paid + bill.pending <= bill.total
        assert bill.is_settled
    asked_for = {request.order_id for batch in day for request in batch if request.key is None}
    assert asked_for <= books.bills.keys(), "an order that somebody pays without a key is paid in the end"


@bounded
@given(days)
def test_every_201_is_one_payment_and_every_payment_one_201(day: list[list[PaymentRequest]]) -> None:
    books = Books()
    booked: list[tuple[PaymentRequest, Answer]] = []
    for batch in day:
        for request, outcome in zip(batch, books.decide(batch), strict=True):
            if isinstance(outcome, Answer) and not outcome.replayed:
                booked.append((request, outcome))
    assert [payment_id_of(answer) for _, answer in booked] == [p.id for p in books.written.payments]
    assert [p.id for p in books.written.payments] == list(range(1, len(booked) + 1))
    assert next(books.ids) == len(booked) + 1, "an id is taken for each payment, and for nothing else"
    for (request, answer), payment in zip(booked, books.written.payments, strict=True):
        assert (answer.status, answer.location) == (201, f"/payments/{payment.id}")
        assert (payment.order_id, payment.user_id) == (request.order_id, request.user_id)
        assert (payment.amount, payment.method) == (request.amount, request.method)
        assert (payment.status, payment.created_us, payment.updated_us) == (Status.PAID, NOW_US, NOW_US)


@bounded
@given(days)
def test_order_and_user_hear_of_each_payment_exactly_once(day: list[list[PaymentRequest]]) -> None:
    books = Books()
    for batch in day:
        books.decide(batch)
    heard = Counter((news.service, news.target_id, news.payment_id) for news in books.written.notifications)
    assert heard == Counter(
        told
        for payment in books.written.payments
        for told in (
            (Service.ORDER, payment.order_id, payment.id),
            (Service.USER, payment.user_id, payment.id),
        )
    )
    assert {news.traceparent for news in books.written.notifications} <= {TRACE}


@bounded
@given(days)
def test_a_key_gives_one_answer_for_ever_and_only_for_its_own_body(day: list[list[PaymentRequest]]) -> None:
    books = Books()
    first: dict[tuple[str, str, str], tuple[str, Answer]] = {}
    for batch in day:
        for request, outcome in zip(batch, books.decide(batch), strict=True):
            if request.key is None:
                assert not (isinstance(outcome, Answer) and outcome.replayed)
                assert not isinstance(outcome, KeyReused)
            elif request.key.identity in first:
                body, answer = first[request.key.identity]
                if body == request.key.fingerprint:
                    assert outcome == replace(answer, replayed=True)
                else:
                    assert isinstance(outcome, KeyReused)
            elif isinstance(outcome, Answer):
                assert not outcome.replayed
                first[request.key.identity] = (request.key.fingerprint, outcome)
            else:
                assert isinstance(outcome, BillSettled)
    assert {key.identity: answer for key, answer in books.written.keys} == {
        identity: answer for identity, (_, answer) in first.items()
    }
    assert len(books.written.keys) == len(first)


@bounded
@given(days, st.lists(requests_, max_size=8))
def test_refusals_and_replays_write_nothing(
    day: list[list[PaymentRequest]], batch: list[PaymentRequest]
) -> None:
    """A batch writes what those of its requests write that are booked, as if no other had come."""
    books = Books()
    for earlier in day:
        books.decide(earlier)
    outcomes, writes = decide(batch, books.kept, books.bills, count(1000), NOW_US)
    booked = [
        request
        for request, outcome in zip(batch, outcomes, strict=True)
        if isinstance(outcome, Answer) and not outcome.replayed
    ]
    assert decide(booked, books.kept, books.bills, count(1000), NOW_US)[1] == writes


@bounded
@given(days)
def test_deciding_together_is_deciding_one_after_the_other(day: list[list[PaymentRequest]]) -> None:
    """Group commit changes how fast it goes, and nothing else."""
    requests = [request for batch in day for request in batch]
    together, in_batches, one_by_one = Books(), Books(), Books()
    at_once = together.decide(requests)
    batched = [outcome for batch in day for outcome in in_batches.decide(batch)]
    singly = [one_by_one.decide([request])[0] for request in requests]
    assert [comparable(o) for o in at_once] == [comparable(o) for o in singly]
    assert [comparable(o) for o in batched] == [comparable(o) for o in singly]
    assert together.written == in_batches.written == one_by_one.written


@bounded
@given(days, st.lists(requests_, max_size=8))
def test_deciding_changes_nothing_that_it_was_given(
    day: list[list[PaymentRequest]], batch: list[PaymentRequest]
) -> None:
    """The batch may have to be decided again, if the database refuses it."""
    books = Books()
    for earlier in day:
        books.decide(earlier)
    kept, bills = dict(books.kept), dict(books.bills)
    once = decide(batch, books.kept, books.bills, count(1000), NOW_US)
    assert (books.kept, books.bills) == (kept, bills)
    again = decide(batch, books.kept, books.bills, count(1000), NOW_US)
    assert [comparable(o) for o in once[0]] == [comparable(o) for o in again[0]]
    assert once[1] == again[1]
