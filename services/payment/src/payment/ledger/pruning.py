"""What is deleted once it is old: keys, settled notifications, forgotten leases, payments, events.

Each batch is a short transaction of its own, with as long a pause after it, so a payment waits for one batch
at most. If a prune is stopped in the middle, what it has deleted stays deleted.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    delete,
    exists,
    func,
    not_,
    select,
    update,
)

from payment.core.states import State
from payment.ledger.payment_pruning import PaymentPruning
from payment.storage.base import Database
from payment.storage.literals import written
from payment.storage.tables import event_log, events, idempotency_keys, leases, notifications, payments

BATCH = 1000
PAYMENTS_AT_ONCE = 200
"""Fewer: PostgreSQL holds a lock for each order, and all of them wait for the disk of the archive."""

HOUR_US = 3_600_000_000
LEASES_KEPT_US = 24 * HOUR_US
"""A lease that ran out says that its worker may have died during a PUT. After a day no such PUT arrives."""


Transaction = Callable[[], AbstractContextManager[Connection]]
Act = Callable[..., int]
"""Deletes the rows of a table that all conditions hold for, or counts them; returns how many."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a batch deleted, or would delete, and how much of its table is done (0 to 1)."""

    table: str
    rows: int
    done: float


def prune(
    database: Database,
    *,
    keys_before_us: int,
    notifications_before_us: int,
    events_before_us: int | None,
    old_payments: PaymentPruning | None,
    now_us: int,
    dry_run: bool,
) -> Iterator[Pruned]:
    """Delete what is old, batch by batch.

    Args:
        database: where it is.
        keys_before_us: keys that were used before this, microseconds since the epoch. A request with such a
            key is a new one from then on.
        notifications_before_us: those that were delivered or superseded before this; a waiting or a dead one
            never.
        events_before_us: what happened before this; None to keep all.
        old_payments: which payments, and where they are kept; None to delete none.
        now_us: the time.
        dry_run: only count.
    """
    transaction, act = (database.read, _count) if dry_run else (database.write, _delete)
    batches = chain(
        _keys(transaction, act, keys_before_us),
        _notifications(transaction, act, notifications_before_us),
        _leases(transaction, act, now_us - LEASES_KEPT_US),
        () if old_payments is None else _payments(transaction, old_payments, dry_run=dry_run),
        () if events_before_us is None else _events(transaction, act, events_before_us, dry_run=dry_run),
    )
    began_s = time.monotonic()
    for pruned in batches:
        took_s = time.monotonic() - began_s
        yield pruned
        if not dry_run:
            time.sleep(took_s)
        began_s = time.monotonic()


def _delete(connection: Connection, table: Table, *conditions: ColumnElement[bool]) -> int:
    return connection.execute(delete(table).where(*conditions)).rowcount


def _count(connection: Connection, table: Table, *conditions: ColumnElement[bool]) -> int:
    number: int = connection.execute(select(func.count()).select_from(table).where(*conditions)).scalar_one()
    return number


def _keys(transaction: Transaction, act: Act, before_us: int) -> Iterator[Pruned]:
    used_us = idempotency_keys.c.created_us
    with transaction() as connection:
        first_us = connection.execute(select(func.min(used_us))).scalar()
    if first_us is None:
        return
    after_us: int = first_us
    while after_us < before_us:
        with transaction() as connection:
            within = select(used_us).where(used_us >= after_us, used_us < before_us).order_by(used_us)
            end_us = connection.execute(within.offset(BATCH).limit(1)).scalar()
            end_us = before_us if end_us is None else max(end_us, after_us + 1)
            rows = act(connection, idempotency_keys, used_us >= after_us, used_us < end_us)
        yield Pruned("idempotency_keys", rows, (end_us - first_us) / (before_us - first_us))
        after_us = end_us


def _notifications(transaction: Transaction, act: Act, before_us: int) -> Iterator[Pruned]:
    row = notifications.c
    has_ended = (row.state.in_([State.DELIVERED, State.SUPERSEDED]), row.settled_us < before_us)
    return _by_id(
        transaction,
        notifications,
        before_us,  # nothing is settled before it is made
        lambda connection, *within: act(connection, notifications, *within, *has_ended),
    )


def _leases(transaction: Transaction, act: Act, before_us: int) -> Iterator[Pruned]:
    """Delete leases that nobody will take over, because nothing waits for their targets."""
    is_waiting = exists().where(
        notifications.c.service == leases.c.service,
        notifications.c.target_id == leases.c.target_id,
        notifications.c.state == written(State.WAITING),
    )
    with transaction() as connection:
        rows = act(connection, leases, leases.c.until_us < before_us, not_(is_waiting))
    yield Pruned("leases", rows, 1.0)


def _payments(transaction: Transaction, old: PaymentPruning, *, dry_run: bool) -> Iterator[Pruned]:
    given_back = 0

    def prune(connection: Connection, *within: ColumnElement[bool]) -> int:
        nonlocal given_back
        rows, given_back = (old.count if dry_run else old.run)(connection, *within)
        return rows

    for batch in _by_id(transaction, payments, old.before_us, prune, PAYMENTS_AT_ONCE):
        yield batch
        yield Pruned("refunds", given_back, batch.done)


def _events(transaction: Transaction, act: Act, before_us: int, *, dry_run: bool) -> Iterator[Pruned]:
    """Delete events that are old, but never the newest: it is where a reader may have got to."""
    row, begins_us = events.c, event_log.c.begins_us

    def prune(connection: Connection, *within: ColumnElement[bool]) -> int:
        is_old = row.created_us < before_us, row.id < select(func.max(row.id)).scalar_subquery()
        rows = act(connection, events, *within, *is_old)
        if not dry_run:
            connection.execute(update(event_log).where(begins_us < before_us).values(begins_us=before_us))
        return rows

    return _by_id(transaction, events, before_us, prune)


def _by_id(
    transaction: Transaction,
    table: Table,
    before_us: int,
    prune: Callable[..., int],
    at_once: int = BATCH,
) -> Iterator[Pruned]:
    """Prune a table from its oldest id on, a batch in each transaction, up to what was made at this time.

    Args:
        transaction: opens one.
        table: which; it has `id` and `created_us`.
        before_us: that time, microseconds since the epoch.
        prune: does it, in a transaction, where the conditions given hold; returns how many rows.
        at_once: how many ids it looks at.
    """
    row = table.c
    with transaction() as connection:
        first_id = connection.execute(select(func.min(row.id))).scalar()
        last_id = connection.execute(select(func.max(row.id))).scalar()
    after_id = 0
    while first_id is not None:
        with transaction() as connection:
            batch = select(row.id, row.created_us).where(row.id > after_id, row.id <= last_id)
            of = batch.order_by(row.id).limit(at_once).subquery().c
            upto_id, oldest_us = connection.execute(select(func.max(of.id), func.min(of.created_us))).one()
            if upto_id is None or oldest_us >= before_us:
                return
            rows = prune(connection, row.id > after_id, row.id <= upto_id)
        yield Pruned(table.name, rows, min(1.0, (upto_id - first_id + 1) / (last_id - first_id + 1)))
        after_id = upto_id
