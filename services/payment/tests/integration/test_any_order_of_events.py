"""Any order of events: pay, settle, refund, expire and tell as Hypothesis likes, on the real databases.

A small model beside the database (`life_model`) says what each answer must be; after every step all that is
stored must agree with it.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import Table, delete, func, make_url, select, text
from sqlalchemy.exc import IntegrityError

from life_model import Model, Paid
from payment.core.neighbours import ORDER, USER, Neighbour
from payment.core.states import Method, Resolution, State, Status, bill_status, user_status
from payment.core.states import Outcome as Told
from payment.ledger import claims as claiming
from payment.ledger import judgements
from payment.ledger.batch import book, book_either_way
from payment.ledger.booking import BookingResult
from payment.ledger.expiry import find_expired
from payment.ledger.idempotency import BookedAnswer, Key
from payment.ledger.judgements import Judgement
from payment.ledger.requests import (
    BookingRequest,
    LateResolution,
    PaymentRequest,
    RefundRequest,
    Settling,
)
from payment.ledger.unread import Unread
from payment.storage.base import Database
from payment.storage.batch import ThreadBatch
from payment.storage.opening import open_database
from payment.storage.tables import (
    api_keys,
    bills,
    event_log,
    events,
    idempotency_keys,
    known_routes,
    late_money,
    leases,
    metadata,
    notifications,
    payment_log,
    payments,
    reconciliation_findings,
    reconciliations,
    refunds,
)

SECOND_US = 1_000_000
EXPIRES_US = 5 * SECOND_US
UNKNOWN_ID = 2**53 - 1
EMPTIED = (
    *(events, notifications, idempotency_keys, leases, known_routes),
    *(late_money, refunds, payments, bills),
)
OPERATIONS = {
    PaymentRequest: "pay",
    Settling: "settle",
    RefundRequest: "refund",
    LateResolution: "resolve",
}
PAYMENT_FIELDS = [
    *("id", "order_id", "user_id", "amount", "status", "method"),
    *("amount_refunded", "created_at", "updated_at", "reference", "expires_at", "late"),
    "settled_at",
]
KEPT = [
    *("id", "order_id", "user_id", "amount", "status", "amount_refunded"),
    *("reference", "late", "expires_us"),
]
REFUND_FIELDS = ["id", "payment_id", "amount", "reason", "created_at", "reference"]

LATE_FIELDS = ["payment_id", "amount", "came_at", "resolution", "reference", "resolved_at"]

# Few of each, so that requests meet: bills of 100, a payment of 50 refunded by thirties.
amounts = st.sampled_from([25, 50, 100, 2**53 - 1])
keys = st.sampled_from([None, None, None, "a", "b"])
picks = st.integers(0, 9)  # which of the payments so far
references = st.sampled_from([None, None, None, "R-1", "R-2"])
pays = st.builds(
    PaymentRequest,
    order_id=st.integers(1, 3),
    user_id=st.integers(1, 2),
    amount=amounts,
    method=st.sampled_from([Method.CASH, Method.QRIS]),
    status=st.sampled_from([Status.PAID, Status.PENDING]),
    order_total=st.sampled_from([None, 25, 100, 100, 100]),
    reference=references,
    expires_us=st.sampled_from([None, 3, 8]),  # in so many seconds, if it waits
)
settlings = st.builds(
    Settling,
    payment_id=picks,
    status=st.sampled_from([Status.PAID, Status.FAILED]),
    reference=references,
)
resolutions = st.builds(
    LateResolution,
    payment_id=picks,
    resolution=st.sampled_from(Resolution),
    reference=st.sampled_from([None, "RF-1"]),
)
refundings = st.builds(
    RefundRequest,
    payment_id=picks,
    amount=st.sampled_from([None, 30, 30, 101]),
    reason=st.none() | st.just("salah pesan"),
    expected_refunded=st.sampled_from([None, None, None, 0, 30]),
    reference=references,
)
drawn = st.tuples(pays | settlings | settlings | refundings | refundings | resolutions, keys)


class InVain(Exception):
    """Everything was written, and it could not be committed."""


class FailsAtCommit(ThreadBatch):
    """A batch that fails when it has written everything."""

    def _commit(self) -> None:
        raise InVain


class Life(RuleBasedStateMachine):
    """One restaurant, three orders, two guests."""

    def __init__(self, database: Database, loop: asyncio.Runner) -> None:
        super().__init__()
        self.database = database
        self.loop = loop
        self.now_us = 1_700_000_000_000_000
        self.model = Model()
        self.kept: dict[tuple[str, str], tuple[BookingRequest, BookedAnswer]] = {}
        self.heard: dict[Neighbour, dict[int, Status]] = {ORDER: {}, USER: {}}

    @initialize()
    def empty(self) -> None:
        """Begin with nothing: a fresh database for each example would take most of the time."""
        with self.database.write() as connection:
            for table in EMPTIED:
                connection.execute(delete(table))

    @rule(batch=st.lists(drawn, min_size=1, max_size=5), unread=st.sampled_from([True, False]))
    def ask(self, batch: Sequence[tuple[BookingRequest, str | None]], *, unread: bool) -> None:
        """Let requests come together; each must be answered as the model says."""
        requests = [self._real(request, key) for request, key in batch]
        news_before = len(self._rows(notifications))
        events_before, refunds_before = len(self._rows(events)), len(self._rows(refunds))
        newest = set(map(self.model.newest, (1, 2)))
        before = {number: payment.status for number, payment in self.model.payments.items()}
        self.now_us += SECOND_US
        way = Unread("always" if unread else "never")
        batch_of = partial(book_either_way, now_us=self.now_us, unread=way)
        try:
            outcomes = self.loop.run(self.database.run_batch(partial(batch_of, requests=requests)))
        except IntegrityError:  # a reference goes from one payment to another within the batch
            outcomes = [
                outcome
                for request in requests
                for outcome in self.loop.run(self.database.run_batch(partial(batch_of, requests=[request])))
            ]
        for request, outcome in zip(requests, outcomes, strict=True):
            self._check(request, outcome)
        changed = {
            number for number, payment in self.model.payments.items() if before.get(number) != payment.status
        }
        news = self._rows(notifications)[news_before:]
        assert {row["payment_id"] for row in news} == changed, "nobody hears of what changes no state"
        told_user = {row["payment_id"] for row in news if row["service"] == USER.name}
        assert told_user <= newest | (changed - before.keys()), "User hears of a guest's newest payment only"
        assert all(row["traceparent"] is None for row in news)
        happened = self._rows(events)[events_before:]
        given_back = [row["data"] for row in happened if row["types"] == "refund.created"]
        refunded = self._rows(refunds)[refunds_before:]
        assert [each["id"] for each in given_back] == [row["id"] for row in refunded]
        of_payments = {row["payment_id"]: row for row in happened if row["types"].startswith("payment.")}
        assert changed <= of_payments.keys()
        said_of_late = {row["payment_id"] for row in happened if row["types"] == "late.resolved"}
        for number, row in of_payments.items():
            known, data = self.model.payments[number], row["data"]
            is_late = bool(data["late"]) and number not in said_of_late  # that event tells of it alone
            assert (data["status"], data["reference"], is_late) == (
                known.status,
                known.reference,
                known.is_late,
            ), "whoever reads the newest events of a payment knows its state"
        created = [row["payment_id"] for row in happened if row["types"].startswith("payment.created")]
        assert created == sorted(changed - before.keys())

    @rule(batch=st.lists(drawn, min_size=1, max_size=5))
    def ask_in_vain(self, batch: Sequence[tuple[BookingRequest, str | None]]) -> None:
        """Let a batch fail after everything was written: the invariants find it if a row stays."""
        requests = [self._real(request, key) for request, key in batch]
        with pytest.raises((InVain, IntegrityError)), self.database.write() as connection:
            book(FailsAtCommit(connection), requests, self.now_us)

    @rule(seconds=st.integers(0, 6), limit=st.integers(1, 3))
    def let_expire(self, seconds: int, limit: int) -> None:
        """Let time pass; what has waited too long fails, the oldest first, `limit` at a time."""
        self.now_us += seconds * SECOND_US
        too_old = sorted(
            (
                payment
                for payment in self.model.payments.values()
                if payment.status is Status.PENDING and _expires_us(payment) < self.now_us
            ),
            key=_expires_us,
        )
        done = 0
        while True:
            with self.database.write() as connection:
                found = find_expired(connection, self.now_us, EXPIRES_US, limit=limit)
            with self.database.batch() as transaction:
                book(transaction, [Settling(number, Status.FAILED) for number in found], self.now_us)
            assert len(found) <= limit
            done += len(found)
            if len(found) < limit:
                break
        assert done == len(too_old)
        for payment in too_old:
            payment.status = Status.FAILED

    @rule()
    def tell(self) -> None:
        """Tell Order and User all that waits: then they know what is true, each of them."""
        self.now_us += SECOND_US
        for neighbour, heard in self.heard.items():
            with self.database.write() as connection:
                claims = claiming.claim(
                    connection,
                    neighbour,
                    "worker",
                    self.now_us,
                    lease_us=SECOND_US,
                    resend_after_us=SECOND_US,
                    limit=100,
                    probing=False,
                )
                heard |= {claim.target_id: claim.status for claim in claims}
                told = [Judgement(claim, State.DELIVERED, Told.DELIVERED) for claim in claims]
                judgements.record(connection, neighbour, "worker", told, self.now_us)
        orders = {payment.order_id for payment in self.model.payments.values()}
        users = {payment.user_id for payment in self.model.payments.values()}
        assert self.heard[ORDER] == {
            order_id: bill_status(self.model.totals[order_id], *self.model.bill(order_id)[:2])
            for order_id in orders
        }
        assert self.heard[USER] == {
            user_id: user_status(self.model.payments[self.model.newest(user_id)].status) for user_id in users
        }
        assert all(row["state"] != State.WAITING for row in self._rows(notifications))

    @invariant()
    def payments_are_as_they_must_be(self) -> None:
        """Each payment is stored once, as the model has it, with what its refunds add up to."""
        rows = self._rows(payments)
        assert [tuple(row[name] for name in KEPT) for row in rows] == [
            (
                *(number, each.order_id, each.user_id, each.amount, each.status, each.refunded),
                *(each.reference, each.is_late, each.expires_us),
            )
            for number, each in self.model.payments.items()
        ]
        for row in rows:
            waited = self.model.payments[row["id"]].waited
            assert (row["settled_us"] is not None) == (waited and row["status"] != Status.PENDING)
            assert row["created_us"] <= (row["settled_us"] or row["updated_us"]) <= row["updated_us"]
        by_payment = {number: each.refunds for number, each in self.model.payments.items() if each.refunds}
        given: dict[int, list[int]] = {}
        for row in self._rows(refunds):
            given.setdefault(row["payment_id"], []).append(row["amount"])
        assert given == by_payment

    @invariant()
    def no_late_money_is_forgotten(self) -> None:
        """What came late is kept once, with what was said of it first."""
        kept = {number: each.late for number, each in self.model.payments.items() if each.late}
        assert {
            row["payment_id"]: (row["amount"], row["came_us"], row["resolution"], row["reference"])
            for row in self._rows(late_money)
        } == {
            number: (self.model.payments[number].amount, late.came_us, *(late.said or (None, None)))
            for number, late in kept.items()
        }

    @invariant()
    def bills_add_up(self) -> None:
        """A bill says what its payments add up to, and never more than its total."""
        orders = {payment.order_id for payment in self.model.payments.values()}
        rows = {row["order_id"]: row for row in self._rows(bills)}
        assert rows.keys() == orders
        for order_id, row in rows.items():
            assert (row["paid"], row["pending"], row["refunded"]) == self.model.bill(order_id)
            assert row["total"] == self.model.totals[order_id]
            assert row["paid"] + row["pending"] <= row["total"]

    @invariant()
    def keys_are_those_of_answers(self) -> None:
        """A key is kept with its answer exactly if there was one."""
        assert {(row["operation"], row["key"]): row["body"] for row in self._rows(idempotency_keys)} == {
            identity: answer.body for identity, (_, answer) in self.kept.items()
        }

    def _rows(self, table: Table) -> list[dict[str, Any]]:
        with self.database.read() as connection:
            found = connection.execute(
                select(table).order_by(table.primary_key.columns.values()[0])
            ).mappings()
            return [dict(row) for row in found]

    def _real(self, request: BookingRequest, key: str | None) -> BookingRequest:
        """Put a payment that there is in the place of a drawn number, and make the key the request's own."""
        if not isinstance(request, PaymentRequest):
            known = [*self.model.payments, UNKNOWN_ID]
            request = replace(request, payment_id=known[request.payment_id % len(known)])
        elif request.expires_us is not None:
            waits = request.status is Status.PENDING
            ahead_us = request.expires_us * SECOND_US
            request = replace(request, expires_us=self.now_us + ahead_us if waits else None)
        if key is None:
            return request
        return replace(request, key=Key("", OPERATIONS[type(request)], key, fingerprint=repr(request)))

    def _check(self, request: BookingRequest, outcome: BookingResult) -> None:
        key = request.key
        if key and (kept := self.kept.get((key.operation, key.key))):
            first, answer = kept
            if first == request:
                assert outcome == replace(answer, replayed=True)
            else:
                assert type(outcome).__name__ == "KeyReused"
            return
        refusal = self.model.refusal(request)
        if refusal:
            assert type(outcome).__name__ == refusal
            if isinstance(request, Settling) and refusal == "LatePayment":
                self.model.note_late(request, self.now_us)
            return
        assert isinstance(outcome, BookedAnswer), f"{request} was refused: {outcome!r}"
        assert not outcome.replayed
        body = json.loads(outcome.body)
        self.model.apply(request, body, self.now_us)
        if key:
            self.kept[key.operation, key.key] = (request, outcome)
        self._check_answer(request, outcome, body)

    def _check_answer(self, request: BookingRequest, answer: BookedAnswer, body: Mapping[str, Any]) -> None:
        if isinstance(request, PaymentRequest):
            assert (answer.status, answer.location) == (201, f"/payments/{body['payment_id']}")
            assert body == {"message": "Pembayaran diproses", "payment_id": body["payment_id"]}
            return
        payment = self.model.payments[request.payment_id]
        if isinstance(request, Settling):
            assert (answer.status, answer.location) == (200, "")
            assert list(body) == PAYMENT_FIELDS
            assert (body["id"], body["status"], body["amount"]) == (
                request.payment_id,
                request.status,
                payment.amount,
            )
            return
        if isinstance(request, LateResolution):
            assert (answer.status, answer.location) == (200, "")
            assert list(body) == LATE_FIELDS
            assert (body["payment_id"], body["resolution"]) == (request.payment_id, request.resolution)
            return
        assert (answer.status, answer.location) == (
            201,
            f"/payments/{request.payment_id}/refunds/{body['id']}",
        )
        assert list(body) == REFUND_FIELDS
        assert (body["payment_id"], body["amount"], body["reason"]) == (
            request.payment_id,
            payment.refunds[-1],
            request.reason,
        )


def _expires_us(payment: Paid) -> int:
    return payment.created_us + EXPIRES_US if payment.expires_us is None else payment.expires_us


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    """An event loop, as the API has one."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def database(database_url: str, loop: asyncio.Runner) -> Iterator[Database]:
    """A database that the machine has for itself."""
    opened = open_database(make_url(database_url))
    opened.migrate()
    yield opened
    loop.run(opened.aclose())


@pytest.mark.slow
def test_whatever_comes_in_whatever_order_the_books_are_right(
    database: Database, loop: asyncio.Runner
) -> None:
    class LifeInDatabase(Life):
        def __init__(self) -> None:
            super().__init__(database, loop)

    run_state_machine_as_test(
        LifeInDatabase,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


@pytest.mark.parametrize("database_url", ["postgresql", "transaction"], indirect=True)
def test_nothing_of_a_batch_is_seen_before_all_of_it_is(database: Database, loop: asyncio.Runner) -> None:
    """Given back and paid anew in one batch: the bill ends as it began, the payment does not."""

    async def race() -> None:
        now_us = 1_700_000_000_000_000
        first = PaymentRequest(1, 1, 100, Method.CASH)
        await database.run_batch(partial(book, requests=[first], now_us=now_us))
        with database.write() as connection:  # somebody is in the way of the batch's last row
            connection.execute(select(payments).with_for_update(key_share=True))
            batch: list[BookingRequest] = [RefundRequest(1), replace(first, user_id=2)]
            writing = asyncio.create_task(
                database.run_batch(partial(book, requests=batch, now_us=now_us + SECOND_US))
            )
            while not _waits(database):
                assert not writing.done()
                await asyncio.sleep(0.01)
            assert _count(database, refunds) == 0
            assert _count(database, payments) == 1
        assert [outcome.status for outcome in await writing if isinstance(outcome, BookedAnswer)] == [
            201,
            201,
        ]
        assert (_count(database, refunds), _count(database, payments)) == (1, 2)

    loop.run(race())


def _waits(database: Database) -> bool:
    """Say whether a transaction waits for a row."""
    with database.read() as connection:
        waits = text(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return connection.execute(waits).first() is not None


def _count(database: Database, table: Table) -> int:
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_every_table_is_emptied_between_examples() -> None:
    """A new table has to be looked at here."""
    not_written = {api_keys, event_log, payment_log, reconciliations, reconciliation_findings}
    assert set(metadata.tables.values()) == {*EMPTIED, *not_written}
