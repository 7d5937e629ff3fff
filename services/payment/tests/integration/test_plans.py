"""The outbox's statements find their rows by an index, on both databases: which filter, which index."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, func, make_url, select

from payment.core.neighbours import ORDER, USER
from payment.core.states import EventType, Outcome, State
from payment.ledger import (
    backlog,
    batch,
    claims,
    clock_steps,
    event_log,
    expiry,
    judgements,
    keys,
    leases,
    lookups,
    outages,
    outbox,
    resending,
    standing,
)
from payment.ledger.event_log import EventSelection
from payment.storage.opening import open_database
from payment.storage.tables import events, notifications

BOUND = {
    "of_service": "order",
    "of_owner": "me",
    "of_target": 1,
    "but_id": 1,
    "again_us": 1,
    "lease_us": 1,
    "repeat_us": 1,
    "longest_us": 1,
    "now_us": 1,
    "rows_max": 10,
    "counted_max": 10,
    "ids": [1, 2],
    "order_ids": [1, 2],
    "callers": ["", "a"],
    "operations": ["create_payment", "create_refund"],
    "keys": ["1", "2"],
    "references": ["R-1", "R-2"],
}
DUE, WAITING = "ix_notifications_due", "ix_notifications_waiting"
FAILED = "ix_notifications_failed"
NOT_DELIVERED, OF_PAYMENT = "ix_notifications_not_delivered", "ix_notifications_payment"
WHAT_WAITS = (DUE, WAITING, NOT_DELIVERED)
"""Each of these leaves out what is delivered, which is most; where nothing waits any of them will do."""

GUESTS_NEWEST = "ix_payments_user_newest"
KEYS = dict.fromkeys(("events", "late_money", "notifications", "payments"), "INTEGER PRIMARY KEY")
"""How SQLite says that it uses a table's primary key; else it has an index for that."""


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A transaction on an empty database."""
    database = open_database(make_url(database_url))
    with database.read() as opened:
        if opened.dialect.name == "postgresql":
            opened.exec_driver_sql("SET LOCAL enable_seqscan = off")  # no rows are no reason for an index
        yield opened
    database.close()


def plan_of(connection: Connection, query: Any) -> str:
    """Return how the database would run a statement, its parameters as parameters."""
    run = query.compile(connection).construct_expanded_state(BOUND)
    word = "EXPLAIN" if connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    given = run.parameters if run.positiontup is None else run.positional_parameters
    rows = connection.exec_driver_sql(f"{word} {run.statement}", given)
    return "\n".join(str(row) for row in rows)


class Explain:
    """Stands where a function reads, and notes how that is done."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.plan = ""

    def execute(self, query: Any) -> "Explain":
        """Explain the query."""
        self.plan = plan_of(self._connection, query)
        return self

    def mappings(self) -> "Explain":
        """Find nothing."""
        return self

    def scalars(self) -> "Explain":
        """Find nothing."""
        return self

    def all(self) -> list[Any]:
        """Find nothing."""
        return []


@pytest.mark.parametrize(
    ("query", "indexes"),
    [
        pytest.param(claims._due(probing=False), [WHAT_WAITS, "leases"], id="what is due"),
        pytest.param(claims._due(probing=True), [WHAT_WAITS, "leases"], id="a probe"),
        pytest.param(claims._next_due_us(probing=False), [WHAT_WAITS, "leases"], id="when the next is due"),
        pytest.param(claims._MERGEABLE, [WHAT_WAITS], id="what waits for a target"),
        pytest.param(claims._to_tell(ORDER), ["notifications", "bills"], id="what Order is told"),
        pytest.param(claims._to_tell(USER), ["notifications", GUESTS_NEWEST], id="what User is told"),
        pytest.param(
            standing._standings(ORDER), ["payments", "bills", WHAT_WAITS], id="what Order should know"
        ),
        pytest.param(
            standing._standings(USER), ["payments", GUESTS_NEWEST, WHAT_WAITS], id="what User should"
        ),
        pytest.param(outages._hurry(), [WHAT_WAITS, "notifications"], id="what failed during an outage"),
        pytest.param(judgements._PUT_OFF, [WHAT_WAITS], id="a repeat that waits"),
        pytest.param(clock_steps._put_off(), [WHAT_WAITS], id="what a clock put off"),
        pytest.param(clock_steps._make_due(), [WHAT_WAITS, "notifications"], id="it becomes due"),
        pytest.param(leases._RELEASE, ["leases"], id="what is given back"),
    ],
)
def test_a_turn_of_a_lane_uses_these_indexes(
    connection: Connection, query: Any, indexes: list[str | tuple[str, ...]]
) -> None:
    plan = plan_of(connection, query)
    for index in indexes:
        any_of = (index,) if isinstance(index, str) else index
        assert any(named(connection, each) in plan for each in any_of), plan
    assert_reads_no_table(plan)


@pytest.mark.parametrize(("failed_by", "index"), [(None, NOT_DELIVERED), (Outcome.REJECTED, FAILED)])
def test_the_dead_are_found_by_this_index(
    connection: Connection, failed_by: Outcome | None, index: str
) -> None:
    which = resending.is_dead("order", failed_by)
    for query in (
        select(func.max(notifications.c.id)).where(which),
        select(notifications.c.id).where(which, notifications.c.id > 5).order_by(notifications.c.id).limit(9),
    ):
        plan = plan_of(connection, query)
        assert index in plan, plan
        assert_reads_no_table(plan)


def test_what_was_not_told_is_counted_by_these_indexes(connection: Connection) -> None:
    plan = plan_of(connection, backlog._counts())
    assert NOT_DELIVERED in plan
    assert FAILED in plan
    assert_reads_no_table(plan)


def test_what_expires_is_found_by_this_index(connection: Connection) -> None:
    explain = Explain(connection)
    expiry.find_expired(explain, 5, 5, limit=10, but=[7])  # type: ignore[arg-type]  # all that it uses
    assert explain.plan.count("ix_payments_expires") == 2, explain.plan
    assert_reads_no_table(explain.plan)


def test_a_look_at_the_good_keys_reads_none_that_was_revoked(connection: Connection) -> None:
    plan = plan_of(connection, keys.ACTIVE_KEYS)
    assert named(connection, "ix_api_keys_active") in plan, plan
    assert_reads_no_table(plan)


@pytest.mark.parametrize(
    ("query", "table"),
    [
        pytest.param(lookups.BILLS_OF_ORDERS, "bills", id="bills"),
        pytest.param(batch._USED_KEYS, "idempotency_keys", id="keys"),
        pytest.param(batch._OF_PAYMENTS, "payments", id="orders of payments"),
        pytest.param(batch._NAMED_PAYMENTS, "payments", id="payments"),
        pytest.param(batch._REFERENCES, "ix_payments_one_reference", id="references"),
        pytest.param(batch._REFUND_REFERENCES, "ix_refunds_one_reference", id="references of refunds"),
        pytest.param(lookups.LATE_MONEY_OF_PAYMENTS, "late_money", id="late money"),
    ],
)
def test_a_batch_looks_up_what_it_touches_by_its_key(connection: Connection, query: Any, table: str) -> None:
    plan = plan_of(connection, query)
    assert named(connection, table) in plan, plan
    assert_reads_no_table(plan)


@pytest.mark.parametrize(
    ("which", "index"),
    [
        ({}, None),
        ({"state": State.DELIVERED}, None),
        ({"state": State.DELIVERED, "service": "user"}, None),
        ({"payment_id": 1}, OF_PAYMENT),
        *(
            ({"failed_by": Outcome.REJECTED} | more, FAILED)
            for more in ({}, {"service": "user"}, {"state": State.DEAD}, {"before_id": 9})
        ),
        *(
            ({"state": state} | more, NOT_DELIVERED)
            for state in (State.WAITING, State.DEAD, State.SUPERSEDED)
            for more in ({}, {"service": "user"}, {"before_id": 9})
        ),
    ],
    ids=str,
)
def test_a_list_of_notifications_uses_this_index(
    connection: Connection, which: dict[str, Any], index: str | None
) -> None:
    """None: most rows are what is asked for, so a few from the newest on are a page."""
    explain = Explain(connection)
    outbox.find_notifications(explain, **which, limit=10)  # type: ignore[arg-type]  # all that it uses
    if index is None:
        assert "TEMP B-TREE" not in explain.plan
        assert "Sort" not in explain.plan
    else:
        assert index in explain.plan
        assert_reads_no_table(explain.plan)


RARE, OF_ITS_PAYMENT = "ix_events_rare", "ix_events_payment"
FREQUENT = (EventType.PAYMENT_CREATED, EventType.PAYMENT_PAID)
"""Of these the next one is never far: the log is read in its order."""


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize(
    ("which", "index"),
    [
        (EventSelection(), "events"),
        *((EventSelection(each), "events" if each in FREQUENT else RARE) for each in EventType),
        (EventSelection(payment_id=1), OF_ITS_PAYMENT),
        (EventSelection(EventType.PAYMENT_PAID, payment_id=1), OF_ITS_PAYMENT),
    ],
    ids=str,
)
def test_events_are_found_by_this_index(
    connection: Connection, which: EventSelection, index: str, *, newest_first: bool
) -> None:
    if connection.dialect.name == "postgresql":  # for an empty table it would do
        connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
    query = event_log._selected(connection, which, newest_first=newest_first)
    plan = plan_of(connection, query.where(events.c.id >= 5, events.c.id <= 9).limit(10))
    assert named(connection, index) in plan, plan
    assert_reads_no_table(plan)
    sorts = "TEMP B-TREE" in plan or "Sort" in plan
    assert sorts == (index == OF_ITS_PAYMENT), "a few are sorted; of the log no more is read than shown"


def assert_reads_no_table(plan: str) -> None:
    """Let no table be read from its first row to its last."""
    assert "Seq Scan" not in plan
    assert not re.search(r"SCAN (events|notifications|payments|bills|leases|idempotency_keys)", plan), plan


def named(connection: Connection, index: str) -> str:
    """Return an index's name; that of a table is its primary key's."""
    if index.startswith("ix_"):
        return index
    if connection.dialect.name == "postgresql":
        return f"pk_{index}"
    return KEYS.get(index, f"sqlite_autoindex_{index}_1")
