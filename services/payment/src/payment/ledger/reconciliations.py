"""Reconciliations that somebody asked for: the API writes them down, a worker works them off bit by bit.

One is open at a time, which the database holds. Its worker has a lease; each chunk of payments is counted,
and what did not agree is written, in one transaction that does nothing if the lease is another's by now or
the reconciliation was cancelled (docs/decisions/0029).
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy import BigInteger, Connection, RowMapping, bindparam, delete, func, or_, select, update

from payment.core import api_key
from payment.core.cause import Cause
from payment.core.errors import ReconciliationNotFound, ReconciliationRunning
from payment.core.record import record
from payment.core.states import DISAGREEMENTS, FINDINGS_MAX, ReconciliationState, Verdict
from payment.core.units import SECOND_US
from payment.ledger.listing import Position
from payment.storage.database_clock import DatabaseNow
from payment.storage.literals import written
from payment.storage.statements import insert, insert_rows
from payment.storage.tables import payments, reconciliation_findings, reconciliations

KEPT = 20
"""The newest reconciliations stay, with what they found; older ones go when another is asked for."""

_row, _found = reconciliations.c, reconciliation_findings.c
_IS_OPEN = _row.state == written(ReconciliationState.OPEN)
_UNTIL_US = DatabaseNow() + bindparam("lease_us", type_=BigInteger)
# a lease that ends later than one from now was taken before the clock was set back
_IS_FREE = or_(_row.owner.is_(None), _row.until_us <= DatabaseNow(), _row.until_us > _UNTIL_US + SECOND_US)
_IS_OURS = (_row.id == bindparam("of_id"), _row.owner == bindparam("of_owner"), _IS_OPEN)


@record(frozen=True, slots=True)
class Asked:
    """What somebody wants compared.

    Attributes:
        since: payments made on this day of the restaurant or later; None for all.
        since_us: when that day begins, microseconds since the epoch; 0 for all.
        service: with this neighbour; None for all.
        repair: what differs is told again.
    """

    since: date | None
    since_us: int
    service: str | None
    repair: bool


@record(frozen=True, slots=True)
class Step:
    """What a chunk of payments came to.

    Attributes:
        counts: how many orders and guests of each verdict.
        disagreements: rows of `reconciliation_findings`, without where they belong.
        last: where the last of the payments is.
        told_again: how many are told again.
    """

    counts: Mapping[Verdict, int]
    disagreements: Sequence[Mapping[str, Any]]
    last: Position
    told_again: int


def ask(connection: Connection, asked: Asked, cause: Cause, now_us: int) -> RowMapping:
    """Write a reconciliation down for a worker, and return it; forget the oldest.

    Raises:
        ReconciliationRunning: another one is open.
    """
    new = insert(connection, reconciliations).on_conflict_do_nothing().returning(_row.id)
    values = {
        "id": api_key.new_id(),
        "state": ReconciliationState.OPEN,
        "since": asked.since and asked.since.isoformat(),
        "since_us": asked.since_us,
        "after_us": asked.since_us,
        "service": asked.service,
        "repair": asked.repair,
        "actor": cause.actor,
        "request_id": cause.request_id,
        "traceparent": cause.traceparent,
        "created_us": now_us,
    }
    while (made := connection.execute(new, values).scalar()) is None:
        running = connection.execute(select(_row.id).where(_IS_OPEN)).scalar()
        if running is not None:  # else it has ended since
            raise ReconciliationRunning(reconciliation_id=running)
    _forget_the_oldest_but(connection, made)
    return find(connection, made)


def _forget_the_oldest_but(connection: Connection, made: str) -> None:
    """Forget what is more than is kept, never the one just made, though others' clocks may be ahead."""
    newest = select(_row.id).where(_row.id != made).order_by(_row.created_us.desc(), _row.id.desc())
    forgotten = connection.execute(newest.offset(KEPT - 1)).scalars().all()
    connection.execute(delete(reconciliation_findings).where(_found.reconciliation_id.in_(forgotten)))
    connection.execute(delete(reconciliations).where(_row.id.in_(forgotten)))


def find(connection: Connection, reconciliation_id: str) -> RowMapping:
    """Return a reconciliation.

    Raises:
        ReconciliationNotFound: there is none with this id, or no more.
    """
    row = connection.execute(select(reconciliations).where(_row.id == reconciliation_id)).mappings().first()
    if row is None:
        raise ReconciliationNotFound
    return row


def find_all(connection: Connection) -> Sequence[RowMapping]:
    """Return all that are kept, the newest first."""
    newest = select(reconciliations).order_by(_row.created_us.desc(), _row.id.desc())
    return connection.execute(newest).mappings().all()


def find_disagreements(
    connection: Connection, reconciliation_id: str, after: int, limit: int
) -> Sequence[RowMapping]:
    """Return what did not agree, in the order in which it was found, from after a number.

    Raises:
        ReconciliationNotFound: there is no such reconciliation, or no more.
    """
    find(connection, reconciliation_id)
    of_it = _found.reconciliation_id == reconciliation_id
    query = select(reconciliation_findings).where(of_it, _found.number > after)
    return connection.execute(query.order_by(_found.number).limit(limit)).mappings().all()


def cancel(connection: Connection, reconciliation_id: str, now_us: int) -> RowMapping:
    """End a reconciliation if it has not ended, and return it.

    Raises:
        ReconciliationNotFound: there is none with this id, or no more.
    """
    ended = {"state": ReconciliationState.CANCELLED, "finished_us": now_us, "owner": None, "until_us": None}
    which = _row.id == reconciliation_id, _IS_OPEN
    connection.execute(update(reconciliations).where(*which).values(ended))
    return find(connection, reconciliation_id)


def is_due(connection: Connection, lease_us: int) -> bool:
    """Say whether one waits for a worker."""
    due = select(_row.id).where(_IS_OPEN, _IS_FREE)
    return connection.execute(due, {"lease_us": lease_us}).scalar() is not None


def find_span(connection: Connection, since_us: int) -> tuple[int, int] | None:
    """Return when the first and the last payment since a time were made; None if there are none."""
    made_us = payments.c.created_us
    since = select(made_us).where(made_us >= since_us).limit(1)
    first_us = connection.execute(since.order_by(made_us)).scalar()
    last_us = connection.execute(since.order_by(made_us.desc())).scalar()
    return None if first_us is None or last_us is None else (first_us, last_us)


def take(connection: Connection, owner: str, now_us: int, *, lease_us: int) -> RowMapping | None:
    """Lease the open reconciliation if nobody has it, for so many microseconds, and return it."""
    started = {"owner": owner, "until_us": _UNTIL_US, "started_us": func.coalesce(_row.started_us, now_us)}
    taken = update(reconciliations).where(_IS_OPEN, _IS_FREE).values(started).returning(*_row)
    row = connection.execute(taken, {"lease_us": lease_us}).mappings().first()
    if row is not None and row["first_us"] is None:
        first_us, last_us = find_span(connection, row["since_us"]) or (now_us, now_us)
        span = {"first_us": first_us, "last_us": last_us}
        connection.execute(update(reconciliations).where(_row.id == row["id"]).values(span))
        return find(connection, row["id"])
    return row


def renew(connection: Connection, reconciliation_id: str, owner: str, *, lease_us: int) -> bool:
    """Keep the lease for so many microseconds from now on; return False if it is not ours any more."""
    ours = {"of_id": reconciliation_id, "of_owner": owner, "lease_us": lease_us}
    kept = update(reconciliations).where(*_IS_OURS).values(until_us=_UNTIL_US).returning(_row.id)
    return connection.execute(kept, ours).first() is not None


def keep(connection: Connection, reconciliation_id: str, owner: str, step: Step) -> bool:
    """Count a chunk, and write what did not agree of it.

    Returns:
        False if the reconciliation is not ours any more: nothing was written.
    """
    counted: dict[str, Any] = {
        verdict.value: _row[verdict] + number for verdict, number in step.counts.items()
    }
    counted["told_again"] = _row.told_again + step.told_again
    came_to = {"after_us": step.last.created_us, "after_id": step.last.id}
    sums = [_row[verdict] for verdict in DISAGREEMENTS]
    kept = update(reconciliations).where(*_IS_OURS).values(counted | came_to).returning(*sums)
    row = connection.execute(kept, {"of_id": reconciliation_id, "of_owner": owner}).first()
    if row is None:
        return False
    first = sum(row) - len(step.disagreements) + 1
    numbered = [
        {"reconciliation_id": reconciliation_id, "number": number, **disagreement}
        for number, disagreement in enumerate(step.disagreements, first)
        if number <= FINDINGS_MAX
    ]
    insert_rows(connection, reconciliation_findings, numbered)
    return True


def end(
    connection: Connection, reconciliation_id: str, owner: str, now_us: int, *, error: str | None = None
) -> None:
    """Say that it is finished, or failed for a reason, if it is still ours."""
    state = ReconciliationState.FAILED if error else ReconciliationState.FINISHED
    ended = {"state": state, "error": error, "finished_us": now_us, "owner": None, "until_us": None}
    ours = {"of_id": reconciliation_id, "of_owner": owner}
    connection.execute(update(reconciliations).where(*_IS_OURS).values(ended), ours)


def give_back(connection: Connection, reconciliation_id: str, owner: str) -> None:
    """End the lease, so that another worker goes on at once."""
    ours = {"of_id": reconciliation_id, "of_owner": owner}
    connection.execute(update(reconciliations).where(*_IS_OURS).values(owner=None, until_us=None), ours)
