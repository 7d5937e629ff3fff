"""Claims: find what is due, lease its targets, merge what waits for each, compute what to tell.

A row of the outbox says whom to tell; the state told is computed at the claim, from committed state. One PUT
tells everything that waits for its target: the newest row carries it, the others end `superseded`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    exists,
    func,
    not_,
    or_,
    select,
)

from payment.core.neighbours import Neighbour
from payment.core.states import OUTAGES, State, Status
from payment.ledger.leases import IS_HELD, release, take
from payment.ledger.standing import status_of, with_facts
from payment.storage.database_clock import DatabaseNow
from payment.storage.literals import written
from payment.storage.statements import update_rows
from payment.storage.tables import leases, notifications

_row = notifications.c

MERGE_MAX = 10_000
"""The most rows that are merged at once: SQLite has one writer, and no payment is to wait longer for it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One target to tell, leased to one worker; times in microseconds since the epoch.

    Attributes:
        id: the notification that stands for everything that waits for the target.
        status: what to tell, as of the claim.
        attempts: the most failed attempts of a row that it stands for.
        due_since_us: the age at which we give up (RETRY_FOR_S) counts from this.
        unknown_since_us: since when the neighbour says it does not know the target.
        resend_us: when an earlier attempt without an answer can no longer be applied; None if there was
            none. What ends before that is told once more then.
        is_repeat: it is told only because an earlier attempt had no answer.
    """

    id: int
    neighbour: Neighbour
    target_id: int
    payment_id: int
    status: Status
    attempts: int
    created_us: int
    due_since_us: int
    unknown_since_us: int | None
    resend_us: int | None
    is_repeat: bool
    traceparent: str | None
    request_id: str | None


# The statements of each turn are built once: to build one takes longer than to run it. No parameter has the
# name of a column, as SQLAlchemy would set that column.
_SERVICE = bindparam("of_service", type_=Text)
_NOW_US = bindparam("now_us", type_=BigInteger)
_ROWS_MAX = bindparam("rows_max", type_=Integer)
_IDS = bindparam("ids", type_=BigInteger, expanding=True)

WAITING = and_(_row.service == _SERVICE, _row.state == written(State.WAITING))
"""What waits for the neighbour whose name is the parameter `of_service`."""

_NOT_LEASED = not_(
    exists().where(
        leases.c.service == _row.service,
        leases.c.target_id == _row.target_id,
        IS_HELD,
    )
)


def _claimable(*, probing: bool) -> ColumnElement[bool]:
    ready = _row.next_attempt_us <= _NOW_US
    if probing:  # what failed during the outage may be the probe before its backoff is over
        is_wanted = func.coalesce(_row.not_before_us, 0) <= _NOW_US
        ready = or_(ready, and_(_row.last_outcome.in_(OUTAGES), is_wanted))
    return and_(WAITING, ready, _NOT_LEASED)


def next_due_us(
    connection: Connection, neighbour: Neighbour, now_us: int, *, lease_us: int, probing: bool
) -> int | None:
    """Return when the next claim can be made (now or earlier: at once), None if nothing waits."""
    which = {"of_service": neighbour.name, "now_us": now_us, "lease_us": lease_us}
    due_us: int | None = connection.execute(_next_due_us(probing=probing), which).scalar_one()
    return due_us


@cache
def _next_due_us(*, probing: bool) -> Select[int | None]:
    later = select(func.min(_row.next_attempt_us)).where(WAITING, _row.next_attempt_us > _NOW_US)
    is_due = exists().where(_claimable(probing=probing))
    return select(case((is_due, _NOW_US), else_=later.scalar_subquery()))


def claim(
    connection: Connection,
    neighbour: Neighbour,
    owner: str,
    now_us: int,
    *,
    lease_us: int,
    resend_after_us: int,
    limit: int,
    probing: bool,
) -> list[Claim]:
    """Lease up to `limit` targets whose news is due, and compute what each is to be told.

    Args:
        connection: a transaction that may write.
        neighbour: whom to tell.
        owner: names the worker, unique among all.
        now_us: the time, microseconds since the epoch.
        lease_us: how long the lease lasts.
        resend_after_us: how long after a dead worker's attempt the newest state is told once more.
        limit: the most targets.
        probing: also take what failed during an outage and whose backoff is not over.
    """
    target_ids, leased_us = _due_targets(connection, neighbour, now_us, lease_us, limit, probing=probing)
    taken = take(connection, neighbour, target_ids, owner, leased_us, leased_us + lease_us)
    if not taken:
        return []
    carriers = _merge(connection, neighbour, list(taken), now_us)
    claims = _read_claims(connection, neighbour, carriers)
    taken_over = [item.id for item in claims if taken[item.target_id]]
    if taken_over:  # their PUTs may still arrive, whoever tells next
        changed = [{"id": id_, "resend_us": now_us + resend_after_us} for id_ in taken_over]
        update_rows(connection, notifications, changed)
        claims = _read_claims(connection, neighbour, carriers)
    release(connection, neighbour, owner, taken.keys() - {item.target_id for item in claims})
    return claims


def _due_targets(
    connection: Connection, neighbour: Neighbour, now_us: int, lease_us: int, limit: int, *, probing: bool
) -> tuple[list[int], int]:
    """Return targets whose news is due and on which nobody has a lease; and the database's time."""
    rows_max = limit * 4  # several rows may wait for one target
    which = {"of_service": neighbour.name, "now_us": now_us, "lease_us": lease_us, "rows_max": rows_max}
    rows = connection.execute(_due(probing=probing), which).all()
    target_ids = dict.fromkeys(row.target_id for row in rows)
    return sorted(list(target_ids)[:limit]), rows[0].database_us if rows else 0


@cache
def _due(*, probing: bool) -> Select[int, int]:
    return (
        select(_row.target_id, DatabaseNow().label("database_us"))
        .where(_claimable(probing=probing))
        # news that was never tried is the better probe: what failed before may fail by its own fault
        .order_by(*([_row.last_outcome.is_not(None)] if probing else []), _row.next_attempt_us, _row.id)
        .limit(_ROWS_MAX)
        .with_for_update(skip_locked=True)  # what another worker is claiming; SQLite has one at a time
    )


@dataclass(slots=True)
class _Group:
    """What waits for one target, merged into its newest row."""

    newest: int
    attempts: int
    due_since_us: int
    unknown_since_us: int | None
    resend_us: int | None

    @classmethod
    def of(cls, rows: Sequence[Any]) -> "_Group":
        """Return the group of a target's rows, oldest first."""
        unknown = [row.unknown_since_us for row in rows if row.unknown_since_us is not None]
        return cls(
            newest=rows[-1].id,
            attempts=max(row.attempts for row in rows),
            due_since_us=max(row.due_since_us for row in rows),  # fresh news has all its patience
            unknown_since_us=min(unknown, default=None),
            resend_us=_latest(row.resend_us for row in rows),
        )


def _latest(times_us: Iterable[int | None]) -> int | None:
    return max((time_us for time_us in times_us if time_us is not None), default=None)


_MERGEABLE = (
    select(
        _row.id,
        _row.target_id,
        _row.attempts,
        _row.due_since_us,
        _row.unknown_since_us,
        _row.resend_us,
    )
    .where(
        WAITING,
        _row.target_id.in_(_IDS),
        or_(not_(_row.is_repeat), _row.next_attempt_us <= _NOW_US, _row.last_outcome.is_not(None)),
    )
    .order_by(_row.target_id, _row.id)
    .limit(_ROWS_MAX)
    .with_for_update(skip_locked=True)  # one that another worker looks at is left for the next time
)


def _merge(
    connection: Connection, neighbour: Neighbour, target_ids: Sequence[int], now_us: int
) -> dict[int, _Group]:
    """Let the newest row of each target stand for all; return what it stands for, by its id.

    A repeat that is not due yet stays: it must be sent after the PUT whose answer never came. So does what is
    beyond MERGE_MAX, for the next claim.
    """
    which = {"of_service": neighbour.name, "now_us": now_us, "ids": target_ids, "rows_max": MERGE_MAX}
    rows = connection.execute(_MERGEABLE, which).all()
    groups = {
        target_id: _Group.of(list(of_target))
        for target_id, of_target in groupby(rows, lambda row: row.target_id)
    }
    carriers = {group.newest: group for group in groups.values()}
    superseded = [
        {
            "id": row.id,
            "state": State.SUPERSEDED,
            "settled_us": now_us,
            "superseded_by": groups[row.target_id].newest,
        }
        for row in rows
        if row.id not in carriers
    ]
    update_rows(connection, notifications, superseded)
    inherited = [
        {"id": group.newest, "resend_us": group.resend_us}
        for group in groups.values()
        if group.resend_us is not None
    ]
    update_rows(connection, notifications, inherited)  # a claim may be given back unsent
    return carriers


def _read_claims(connection: Connection, neighbour: Neighbour, carriers: dict[int, _Group]) -> list[Claim]:
    rows = connection.execute(_to_tell(neighbour), {"ids": list(carriers)})
    return [
        Claim(
            id=row.id,
            neighbour=neighbour,
            target_id=row.target_id,
            payment_id=row.payment_id,
            status=status_of(neighbour, row),
            attempts=carriers[row.id].attempts,
            created_us=row.created_us,
            due_since_us=carriers[row.id].due_since_us,
            unknown_since_us=carriers[row.id].unknown_since_us,
            resend_us=_latest((row.resend_us, carriers[row.id].resend_us)),
            is_repeat=row.is_repeat,
            traceparent=row.traceparent,
            request_id=row.request_id,
        )
        for row in rows
    ]


@cache
def _to_tell(neighbour: Neighbour) -> Select[Any]:
    query = with_facts(neighbour, notifications, _row.target_id)
    return query.where(_row.id.in_(_IDS)).order_by(_row.id)
