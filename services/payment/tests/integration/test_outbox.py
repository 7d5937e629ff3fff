"""Claims and settlements that cross each other, step by step, on both databases."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import make_url, select, update

from payment.core.cause import Cause
from payment.core.neighbours import ORDER, USER
from payment.core.retry_policy import RetryPolicy
from payment.core.states import Method, Outcome, State, Status
from payment.ledger import claims as claiming
from payment.ledger import clock_steps, judgements, leases, outages, outbox
from payment.ledger.audience import Notification
from payment.ledger.batch import book
from payment.ledger.claims import Claim
from payment.ledger.requests import PaymentRequest, Settling
from payment.storage.base import Database
from payment.storage.opening import open_database
from payment.storage.tables import leases as leases_table
from payment.storage.tables import notifications, payments
from payment.telling.delivery import judge_delivery
from payment.telling.downstream import DeliveryResult

SECOND_US = 1_000_000
BEGIN_US = 1_700_000_000_000_000
RESEND_AFTER_US = 60 * SECOND_US
TOLD = DeliveryResult(Outcome.DELIVERED)
NO_ANSWER = DeliveryResult(Outcome.OUTAGE, "timeout", may_come_late=True)


class Lanes:
    """The outbox of Order as its workers see it; times in seconds since the first payment."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.policy = RetryPolicy()
        self._at_s = 0.0

    def pay(self, status: Status = Status.PAID) -> None:
        """Book payment 1 for order 1."""
        with self.database.batch() as transaction:
            book(transaction, [PaymentRequest(1, 1, 100, Method.CASH, status)], BEGIN_US)

    def settle_payment(self, at_s: float) -> None:
        """Let payment 1 be paid."""
        with self.database.batch() as transaction:
            book(transaction, [Settling(1, Status.PAID)], _us(at_s))

    def claim(self, owner: str, at_s: float, *, lease_s: float = 30.0) -> list[Claim]:
        """Claim what is due. Leases grow older meanwhile, by the database's clock."""
        with self.database.write() as connection:
            passed_us = round((at_s - self._at_s) * SECOND_US)
            connection.execute(update(leases_table).values(until_us=leases_table.c.until_us - passed_us))
            self._at_s = at_s
            return claiming.claim(
                connection,
                ORDER,
                owner,
                _us(at_s),
                lease_us=round(lease_s * SECOND_US),
                resend_after_us=RESEND_AFTER_US,
                limit=10,
                probing=False,
            )

    def settle(self, owner: str, claim: Claim, result: DeliveryResult, at_s: float) -> None:
        """Record the result of a claim."""
        judgement = judge_delivery(
            claim, result, self.policy, now_us=_us(at_s), jitter=0.5, resend_after_us=RESEND_AFTER_US
        )
        with self.database.write() as connection:
            judgements.record(connection, ORDER, owner, [judgement], _us(at_s))

    def next_due_us(self, at_s: float) -> int | None:
        """Return when the next claim can be made."""
        with self.database.read() as connection:
            return claiming.next_due_us(connection, ORDER, _us(at_s), lease_us=30 * SECOND_US, probing=False)

    def rows(self) -> list[dict[str, Any]]:
        """Return Order's notifications, oldest first."""
        query = select(notifications).where(notifications.c.service == ORDER.name)
        with self.database.read() as connection:
            return [dict(row) for row in connection.execute(query.order_by(notifications.c.id)).mappings()]


def _us(at_s: float) -> int:
    return BEGIN_US + round(at_s * SECOND_US)


@pytest.fixture
def lanes(database_url: str) -> Iterator[Lanes]:
    """An empty outbox."""
    database = open_database(make_url(database_url))
    database.migrate()
    yield Lanes(database)
    database.close()


def test_a_put_without_an_answer_is_owed_a_repeat_whoever_settled_its_row_meanwhile(lanes: Lanes) -> None:
    """A loses its lease, B takes over; A is answered late, B never: B's PUT may still be applied."""
    lanes.pay(Status.PENDING)
    (of_a,) = lanes.claim("A", 0, lease_s=1)
    (of_b,) = lanes.claim("B", 2)
    lanes.settle("A", of_a, TOLD, at_s=3)
    lanes.settle("B", of_b, NO_ANSWER, at_s=7)
    lanes.settle_payment(at_s=10)
    (newest,) = lanes.claim("B", 10)
    lanes.settle("B", newest, TOLD, at_s=11)
    repeats = [row for row in lanes.rows() if row["state"] == State.WAITING]
    assert [(row["is_repeat"], row["next_attempt_us"]) for row in repeats] == [
        (True, _us(7) + RESEND_AFTER_US)
    ]
    (repeat,) = lanes.claim("B", 68)
    assert repeat.status is Status.PAID


def test_what_dies_of_age_after_a_put_without_an_answer_is_told_once_more_and_no_oftener(
    lanes: Lanes,
) -> None:
    """Order only ever times out: a late PUT is still to be feared, but not for ever."""
    lanes.policy = replace(lanes.policy, give_up_after_s=5.0)
    lanes.pay()
    (first,) = lanes.claim("A", 0)
    lanes.settle("A", first, NO_ANSWER, at_s=6)
    (repeat,) = lanes.claim("A", 70)
    assert repeat.is_repeat
    lanes.settle("A", repeat, NO_ANSWER, at_s=75)
    assert [row["state"] for row in lanes.rows()] == [State.DEAD, State.DEAD]
    assert lanes.claim("A", 10_000) == []


def test_a_huge_backlog_of_one_target_is_merged_a_part_at_a_time(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part costs one PUT; nothing is left and nothing told twice at a time."""
    monkeypatch.setattr("payment.ledger.claims.MERGE_MAX", 100)
    lanes.pay()
    with lanes.database.write() as connection:
        outbox.tell_again(connection, [Notification(ORDER, 1, 1, Cause())] * 249, BEGIN_US)
    puts = 0
    while claims := lanes.claim("A", 1):
        (claim,) = claims
        assert lanes.claim("B", 1) == []
        lanes.settle("A", claim, TOLD, at_s=2)
        puts += 1
    assert puts == 3
    states = [row["state"] for row in lanes.rows()]
    assert (states.count(State.DELIVERED), states.count(State.SUPERSEDED)) == (3, 247)


def test_what_is_due_is_known_to_the_microsecond(lanes: Lanes) -> None:
    """Else a retry would wait for the next look, whenever that is."""
    assert lanes.next_due_us(0) is None
    lanes.pay()
    assert lanes.next_due_us(1) == _us(1), "at once"
    (claim,) = lanes.claim("A", 1)
    assert lanes.next_due_us(2) is None, "somebody has it in hand"
    lanes.settle("A", claim, DeliveryResult(Outcome.OUTAGE, "HTTP 503"), at_s=2)
    (row,) = lanes.rows()
    assert row["next_attempt_us"] > _us(2)
    assert lanes.next_due_us(2) == row["next_attempt_us"]


def test_a_lease_is_given_back_by_its_owner_alone(lanes: Lanes) -> None:
    lanes.pay()
    lanes.claim("A", 1)
    with lanes.database.write() as connection:
        assert leases.release(connection, ORDER, "B", [1]) == set()
        leases.renew(connection, ORDER, "B", [1], 1000 * SECOND_US)
        now_us = time.time_ns() // 1000
        assert leases.take(connection, ORDER, [1], "B", now_us, now_us + 1000 * SECOND_US) == {}
    assert lanes.claim("B", 2) == []
    (late,) = lanes.claim("B", 32)
    assert late.resend_us is not None, "what a dead worker sent may still arrive"


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_lease_of_a_clock_that_was_set_is_none(lanes: Lanes, hours: int) -> None:
    """A worker died, then its database's clock was set by an hour: its lease ends in an hour, or did so."""
    lanes.pay()
    lanes.claim("A", 0)
    assert lanes.claim("B", 0) == []
    with lanes.database.write() as connection:
        moved = leases_table.c.until_us + hours * 3600 * SECOND_US
        connection.execute(update(leases_table).values(until_us=moved))
    assert lanes.next_due_us(0) == _us(0)
    (late,) = lanes.claim("B", 0)
    assert late.resend_us is not None, "what the dead worker sent may still arrive"
    assert lanes.claim("A", 0) == [], "it is B's for as long as any"


def test_a_lease_that_another_took_a_moment_after_we_looked_is_held(lanes: Lanes) -> None:
    """Statements that begin at different moments come to the row in any order: no clock was set for that."""
    lanes.pay()
    lanes.claim("A", 0)
    with lanes.database.write() as connection:
        later = leases_table.c.until_us + SECOND_US
        connection.execute(update(leases_table).values(until_us=later))
    assert lanes.next_due_us(0) is None
    assert lanes.claim("B", 0) == []
    with lanes.database.write() as connection:
        until_us = connection.execute(select(leases_table.c.until_us)).scalar_one()
        looked_us = time.time_ns() // 1000
        assert leases.take(connection, ORDER, [1], "B", looked_us, until_us - SECOND_US) == {}


def test_what_a_clock_that_was_ahead_has_put_off_is_due(lanes: Lanes) -> None:
    """News that was never tried, a repeat and what failed; what waits as long as it may goes on waiting."""
    hour_us = 3600 * SECOND_US
    slack_us = clock_steps.SLACK_US
    put_off = [
        (RESEND_AFTER_US, None, False, slack_us + 1, True),
        (RESEND_AFTER_US, None, False, slack_us, False),
        (slack_us // 2, None, False, slack_us, False),
        (RESEND_AFTER_US, None, True, RESEND_AFTER_US + slack_us + 1, True),
        (RESEND_AFTER_US, None, True, RESEND_AFTER_US + slack_us, False),
        (RESEND_AFTER_US, Outcome.OUTAGE, False, hour_us + slack_us + 1, True),
        (RESEND_AFTER_US, Outcome.OUTAGE, False, hour_us + slack_us, False),
        (RESEND_AFTER_US, Outcome.OUTAGE, True, hour_us + slack_us, False),
        # a RESEND_AFTER_S that is longer than what failed may wait
        (9 * hour_us, None, True, 9 * hour_us + slack_us + 1, True),
        (9 * hour_us, None, True, 9 * hour_us + slack_us, False),
        (9 * hour_us, Outcome.OUTAGE, True, hour_us + slack_us + 1, True),
    ]
    lanes.pay()
    for repeat_us, last_outcome, is_repeat, wait_us, is_put_off in put_off:
        waits = {"repeat_us": repeat_us, "longest_us": hour_us}
        with lanes.database.write() as connection:
            values = {"last_outcome": last_outcome, "is_repeat": is_repeat}
            later = update(notifications).values(next_attempt_us=_us(0) + wait_us, **values)
            connection.execute(later)
        with lanes.database.read() as connection:
            assert clock_steps.is_put_off(connection, ORDER, _us(0), **waits) == is_put_off
        with lanes.database.write() as connection:
            assert clock_steps.make_due(connection, ORDER, _us(0), **waits) == is_put_off
        assert lanes.rows()[0]["next_attempt_us"] == _us(0) + (0 if is_put_off else wait_us)


def test_what_fails_after_each_outage_again_is_hurried_ever_less(lanes: Lanes) -> None:
    """Else a few targets that always fail would be tried without end, ahead of fresh news."""
    lanes.policy = replace(lanes.policy, wait_initial_s=3_600.0)
    lanes.pay()
    (claim,) = lanes.claim("A", 0)
    lanes.settle("A", claim, DeliveryResult(Outcome.OUTAGE, "HTTP 500"), at_s=1)
    waits_s = []
    for at_s in range(2, 7):
        with lanes.database.write() as connection:
            later = update(notifications).where(notifications.c.service == ORDER.name)
            connection.execute(later.values(next_attempt_us=_us(1_000_000)))
            outages.end_outage(connection, ORDER, _us(at_s))
        waits_s.append((lanes.rows()[0]["next_attempt_us"] - _us(at_s)) / SECOND_US)
    assert waits_s == [0, 0.25, 2, 6.75, 16], "at once, the first time"


def test_user_is_told_of_the_newest_payment_whichever_changed(lanes: Lanes) -> None:
    """A row in the outbox that names an older payment is told as the newest one stands."""
    with lanes.database.batch() as transaction:
        both = [PaymentRequest(order_id, 5, 100, Method.CASH) for order_id in (1, 2)]
        book(transaction, both, BEGIN_US)
    with lanes.database.write() as connection:
        connection.execute(update(payments).where(payments.c.order_id == 1).values(status=Status.FAILED))
        outbox.tell_again(connection, [Notification(USER, 5, 1, Cause())], _us(1))
        (claim,) = claiming.claim(
            connection,
            USER,
            "A",
            _us(2),
            lease_us=SECOND_US,
            resend_after_us=RESEND_AFTER_US,
            limit=10,
            probing=False,
        )
    assert claim.status is Status.PAID
