"""The outbox: what has to be told. Enqueue, claim, settle, bury, send again.

Level-triggered (docs/decisions/0004): a row says *whom* to tell, the state told is computed when the row is
claimed, from committed state. A lease on (service, target) makes one PUT at a time across all workers, and
one PUT settles everything that waits for its target. Nothing is ever dropped: a row ends `delivered`,
`superseded` by a newer one for the same target, or `dead` where everybody can see it.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    RowMapping,
    Select,
    Text,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    literal_column,
    not_,
    or_,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert, Update

from payment.core.neighbours import Service
from payment.core.states import OUTAGES, Outcome, State, Status, bill_status, user_status
from payment.ledger.audience import Notification
from payment.storage.statements import insert, insert_rows, update_rows
from payment.storage.tables import bills, leases, notifications, payments

_row = notifications.c


MERGE_MAX = 10_000
"""The most rows that a claim merges: no payment waits longer for that on SQLite, which has one writer."""

HURRY_STEP_US = 250_000
"""What has been hurried n times before is due n*n*n of these after the end of the next outage."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One target to tell, leased to one worker; times in microseconds since the epoch.

    Attributes:
        id: the notification that stands for everything that waits for the target.
        status: what to tell, as of the claim.
        attempts: failed attempts so far.
        due_since_us: when the retry policy's patience began.
        unknown_since_us: since when the service says it does not know the target.
        resend_us: until when an earlier attempt without an answer may still be applied; None if there was
            none. What is delivered before that is told once more then.
        is_repeat: it is told only because of such an attempt.
    """

    id: int
    service: Service
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


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a claim.

    Attributes:
        state: `waiting` if it is to be tried again at `next_attempt_us`.
        not_before_us: the neighbour asked not to hear of it before (Retry-After).
        resend_us: see `Claim`; later if this attempt had no answer either.
    """

    claim: Claim
    state: State
    outcome: Outcome
    error: str | None = None
    next_attempt_us: int = 0
    not_before_us: int | None = None
    unknown_since_us: int | None = None
    resend_us: int | None = None


def enqueue(connection: Connection, news: Iterable[Notification], now_us: int) -> None:
    """Write notifications, in the transaction of what they are about."""
    insert_rows(connection, notifications, rows_of(news, now_us))


def rows_of(news: Iterable[Notification], now_us: int) -> list[dict[str, Any]]:
    """Return notifications as rows to be inserted."""
    return [
        {
            "service": item.service,
            "target_id": item.target_id,
            "payment_id": item.payment_id,
            "traceparent": item.traceparent,
            "state": State.WAITING,
            "next_attempt_us": now_us,
            "created_us": now_us,
            "due_since_us": now_us,
        }
        for item in news
    ]


# What a lane does each turn is built once: to build it took longer than to run it. Its parameters, no name
# of which is a column's, as SQLAlchemy would set that:
_SERVICE = bindparam("of_service", type_=Text)
_OWNER = bindparam("of_owner", type_=Text)
_NOW_US = bindparam("now_us", type_=BigInteger)
_ROWS_MAX = bindparam("rows_max", type_=Integer)
_IDS = bindparam("ids", type_=BigInteger, expanding=True)

_WAITING = and_(
    _row.service == _SERVICE,
    _row.state == literal_column("'waiting'"),  # a parameter would have SQLite plan anew at each run
)

_NOT_LEASED = not_(
    exists().where(
        leases.c.service == _row.service,
        leases.c.target_id == _row.target_id,
        leases.c.until_us > _NOW_US,
    )
)


def _claimable(*, probing: bool) -> ColumnElement[bool]:
    ready = _row.next_attempt_us <= _NOW_US
    if probing:  # what an outage pushed back need not wait for its turn: it shows whether the outage is over
        ready = or_(
            ready, and_(_row.last_outcome.in_(OUTAGES), func.coalesce(_row.not_before_us, 0) <= _NOW_US)
        )
    return and_(_WAITING, ready, _NOT_LEASED)


def next_due_us(connection: Connection, service: Service, now_us: int, *, probing: bool) -> int | None:
    """Return when the next claim can be made (now or earlier: at once), None if nothing waits."""
    due_us: int | None = connection.execute(
        _next_due_us(probing=probing), {"of_service": service, "now_us": now_us}
    ).scalar_one()
    return due_us


@cache
def _next_due_us(*, probing: bool) -> Select[int | None]:
    later = select(func.min(_row.next_attempt_us)).where(_WAITING, _row.next_attempt_us > _NOW_US)
    is_due = exists().where(_claimable(probing=probing))
    return select(case((is_due, _NOW_US), else_=later.scalar_subquery()))


def claim(
    connection: Connection,
    service: Service,
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
        service: the lane.
        owner: names the worker, unique among all.
        now_us: the time, microseconds since the epoch.
        lease_us: how long the lease lasts.
        resend_after_us: how long after a dead worker's attempt the newest state is told once more.
        limit: the most targets.
        probing: also take what an outage has pushed back.
    """
    target_ids = _due_targets(connection, service, now_us, limit, probing=probing)
    taken = _lease(connection, service, target_ids, owner, now_us, now_us + lease_us)
    if not taken:
        return []
    carriers = _merge(connection, service, list(taken), now_us)
    claims = _read_claims(connection, service, carriers)
    left_by_the_dead = [item.id for item in claims if taken[item.target_id]]
    if left_by_the_dead:  # their PUTs may still arrive, whoever tells next
        changed = [{"id": id_, "resend_us": now_us + resend_after_us} for id_ in left_by_the_dead]
        update_rows(connection, notifications, changed)
        claims = _read_claims(connection, service, carriers)
    release(connection, service, owner, taken.keys() - {item.target_id for item in claims})
    return claims


def _due_targets(
    connection: Connection, service: Service, now_us: int, limit: int, *, probing: bool
) -> list[int]:
    which = {"of_service": service, "now_us": now_us, "rows_max": limit * 4}  # several rows may wait for one
    rows = connection.execute(_due(probing=probing), which).scalars()
    return sorted(list(dict.fromkeys(rows))[:limit])


@cache
def _due(*, probing: bool) -> Select[int]:
    return (
        select(_row.target_id)
        .where(_claimable(probing=probing))
        # a probe is rather news that was never tried than what has failed before: that may be its own fault
        .order_by(*([_row.last_outcome.is_not(None)] if probing else []), _row.next_attempt_us, _row.id)
        .limit(_ROWS_MAX)
        .with_for_update(skip_locked=True)  # what another worker is claiming; SQLite has one at a time
    )


def _lease(
    connection: Connection,
    service: Service,
    target_ids: Sequence[int],
    owner: str,
    now_us: int,
    until_us: int,
) -> dict[int, bool]:
    """Return the targets that are ours now, each with whether it was taken over from a dead worker."""
    if not target_ids:
        return {}
    rows = connection.execute(
        _take(insert(connection, leases)),
        [
            {
                "service": service,
                "target_id": target_id,
                "owner": owner,
                "until_us": until_us,
                "taken_over": False,
                "now_us": now_us,
            }
            for target_id in target_ids
        ],
    )
    return {row.target_id: row.taken_over for row in rows}


@cache
def _take(new: sqlite.Insert | postgresql.Insert) -> ReturningInsert[int, bool]:
    return new.on_conflict_do_update(
        index_elements=[leases.c.service, leases.c.target_id],
        set_={
            "owner": new.excluded.owner,
            "until_us": new.excluded.until_us,
            "taken_over": True,
        },
        where=leases.c.until_us <= _NOW_US,
    ).returning(leases.c.target_id, leases.c.taken_over)


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
        resend = [row.resend_us for row in rows if row.resend_us is not None]
        return cls(
            newest=rows[-1].id,
            attempts=max(row.attempts for row in rows),
            due_since_us=max(row.due_since_us for row in rows),  # fresh news has all its patience
            unknown_since_us=min(unknown, default=None),
            resend_us=max(resend, default=None),
        )


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
        _WAITING,
        _row.target_id.in_(_IDS),
        or_(not_(_row.is_repeat), _row.next_attempt_us <= _NOW_US, _row.last_outcome.is_not(None)),
    )
    .order_by(_row.target_id, _row.id)
    .limit(_ROWS_MAX)
    .with_for_update(skip_locked=True)  # one that another worker looks at is left for the next time
)


def _merge(
    connection: Connection, service: Service, target_ids: Sequence[int], now_us: int
) -> dict[int, _Group]:
    """Let the newest row of each target stand for all; return what it stands for, by its id.

    A repeat that is not due yet stays: it must be sent after the PUT whose answer never came. So does what is
    beyond MERGE_MAX, for the next claim.
    """
    which = {"of_service": service, "now_us": now_us, "ids": target_ids, "rows_max": MERGE_MAX}
    rows = connection.execute(_MERGEABLE, which).all()
    by_target = [(target_id, list(of)) for target_id, of in groupby(rows, lambda row: row.target_id)]
    groups = [_Group.of(of_target) for _, of_target in by_target]
    carriers = {group.newest: group for group in groups}
    carrier_of = {target_id: group.newest for (target_id, _), group in zip(by_target, groups, strict=True)}
    update_rows(
        connection,
        notifications,
        [
            {
                "id": row.id,
                "state": State.SUPERSEDED,
                "settled_us": now_us,
                "superseded_by": carrier_of[row.target_id],
            }
            for row in rows
            if row.id not in carriers
        ],
    )
    inherited = [
        {"id": group.newest, "resend_us": group.resend_us} for group in groups if group.resend_us is not None
    ]
    update_rows(connection, notifications, inherited)  # a claim may be given back unsent
    return carriers


def _read_claims(connection: Connection, service: Service, carriers: dict[int, _Group]) -> list[Claim]:
    rows = connection.execute(_to_tell(service), {"ids": list(carriers)})
    return [
        Claim(
            id=row.id,
            service=service,
            target_id=row.target_id,
            payment_id=row.payment_id,
            status=(
                bill_status(row.bill_total, row.bill_paid, row.bill_pending)
                if service is Service.ORDER
                else user_status(row.newest_payment)
            ),
            attempts=carriers[row.id].attempts,
            created_us=row.created_us,
            due_since_us=carriers[row.id].due_since_us,
            unknown_since_us=carriers[row.id].unknown_since_us,
            resend_us=max((us for us in (row.resend_us, carriers[row.id].resend_us) if us), default=None),
            is_repeat=row.is_repeat,
            traceparent=row.traceparent,
        )
        for row in rows
    ]


@cache
def _to_tell(service: Service) -> Select[Any]:
    status = _bill_columns if service is Service.ORDER else _newest_payment_column
    return select(notifications, *status()).where(_row.id.in_(_IDS)).order_by(_row.id)


def _bill_columns() -> list[ColumnElement[Any]]:
    def of_bill(name: str) -> ColumnElement[Any]:
        column = bills.c[name]
        query = select(column).where(bills.c.order_id == _row.target_id)
        return query.scalar_subquery().label(f"bill_{name}")

    return [of_bill("total"), of_bill("paid"), of_bill("pending")]


def _newest_payment_column() -> list[ColumnElement[Any]]:
    newest = (
        select(payments.c.status)
        .where(payments.c.user_id == _row.target_id)
        .order_by(payments.c.id.desc())
        .limit(1)
    )
    return [newest.scalar_subquery().label("newest_payment")]


_STILL_WAITING = (
    select(_row.id).where(_row.id.in_(_IDS), _row.state == State.WAITING).order_by(_row.id).with_for_update()
)


def settle(
    connection: Connection,
    service: Service,
    owner: str,
    settlements: Sequence[Settlement],
    now_us: int,
) -> None:
    """Write what became of claims and give their leases back."""
    if not settlements:
        return
    # a row that somebody else settled meanwhile, because our lease ran out, stays settled
    ours = set(connection.execute(_STILL_WAITING, {"ids": [item.claim.id for item in settlements]}).scalars())
    update_rows(
        connection,
        notifications,
        [
            {
                "id": item.claim.id,
                "state": item.state,
                "told": item.claim.status if item.state is State.DELIVERED else None,
                "attempts": item.claim.attempts + 1,
                "next_attempt_us": item.next_attempt_us,
                "last_outcome": item.outcome,
                "last_error": item.error,
                "not_before_us": item.not_before_us,
                "due_since_us": item.claim.due_since_us,
                "unknown_since_us": item.unknown_since_us,
                "resend_us": item.resend_us,
                "settled_us": None if item.state is State.WAITING else now_us,
            }
            for item in settlements
            if item.claim.id in ours
        ],
    )
    for item in settlements:
        still_waits = item.state is State.WAITING and item.claim.id in ours
        died_of_age = item.state is State.DEAD and item.outcome in OUTAGES
        is_enough = died_of_age and item.claim.is_repeat  # or each would leave another
        if item.resend_us is not None and item.resend_us > now_us and not (still_waits or is_enough):
            due_since_us = item.claim.due_since_us if died_of_age else item.resend_us
            _repeat(connection, item.claim, now_us, item.resend_us, due_since_us)
    kept = release(connection, service, owner, [item.claim.target_id for item in settlements])
    for item in settlements:
        if item.claim.target_id not in kept:
            # Whoever took our lease may have told newer news before our PUT arrived: tell the newest again.
            resend_us = max(item.resend_us or now_us, now_us)
            _repeat(connection, item.claim, now_us, resend_us, resend_us)


_AGAIN_US = bindparam("again_us", type_=BigInteger)
_PUT_OFF = (
    update(notifications)
    .where(
        _WAITING,
        _row.target_id == bindparam("of_target"),
        _row.is_repeat,
        _row.last_outcome.is_(None),
        _row.id != bindparam("but_id"),  # one that is being sent is no later one
    )
    .values(next_attempt_us=case((_row.next_attempt_us > _AGAIN_US, _row.next_attempt_us), else_=_AGAIN_US))
)


def _repeat(connection: Connection, claim: Claim, now_us: int, resend_us: int, due_since_us: int) -> None:
    """Have a claim's target told its newest state once more at `resend_us`, by one such row."""
    which = {
        "of_service": claim.service,
        "of_target": claim.target_id,
        "but_id": claim.id,
        "again_us": resend_us,
    }
    if connection.execute(_PUT_OFF, which).rowcount:
        return
    row = {
        "service": claim.service,
        "target_id": claim.target_id,
        "payment_id": claim.payment_id,
        "traceparent": claim.traceparent,
        "state": State.WAITING,
        "next_attempt_us": resend_us,
        "is_repeat": True,
        "created_us": now_us,
        "due_since_us": due_since_us,
    }
    connection.execute(notifications.insert(), row)


_OURS = and_(leases.c.service == _SERVICE, leases.c.owner == _OWNER, leases.c.target_id.in_(_IDS))
_RENEW = update(leases).where(_OURS).values(until_us=bindparam("new_until_us"))
_RELEASE = delete(leases).where(_OURS).returning(leases.c.target_id)


def renew(
    connection: Connection, service: Service, owner: str, target_ids: Iterable[int], until_us: int
) -> None:
    """Keep the leases of deliveries that are still in hand."""
    which = {"of_service": service, "of_owner": owner, "ids": list(target_ids)}
    connection.execute(_RENEW, which | {"new_until_us": until_us})


def release(connection: Connection, service: Service, owner: str, target_ids: Iterable[int]) -> set[int]:
    """Give leases back; return the targets whose lease was still ours."""
    ids = list(target_ids)
    if not ids:
        return set()
    which = {"of_service": service, "of_owner": owner, "ids": ids}
    return set(connection.execute(_RELEASE, which).scalars())


def end_outage(connection: Connection, service: Service, now_us: int) -> int:
    """Make due what an outage pushed back, but nothing before the service wants it; return how many.

    A target that the service always fails at would be hurried at the end of each small outage that it and
    its like cause, ahead of fresh news; so each time it is hurried less, and in the end keeps its backoff.

    In a transaction of its own: it waits for rows that other workers settle, so it must hold none meanwhile.
    """
    return connection.execute(_hurry(), {"of_service": service, "now_us": now_us}).rowcount


@cache
def _hurry() -> Update:
    due_us = _NOW_US + HURRY_STEP_US * _row.hurried * _row.hurried * _row.hurried
    asked_us = func.coalesce(_row.not_before_us, 0)
    hurried_us = case((asked_us > due_us, asked_us), else_=due_us)
    pushed_back = (
        select(_row.id)
        .where(_WAITING, _row.next_attempt_us > hurried_us, _row.last_outcome.in_(OUTAGES))
        .order_by(_row.id)
        .with_for_update()
    )
    return (
        update(notifications)
        .where(_row.id.in_(pushed_back))
        .values(next_attempt_us=hurried_us, hurried=_row.hurried + 1)
    )


def send_again(connection: Connection, now_us: int, *, notification_id: int | None = None) -> list[int]:
    """Send dead notifications again, or try a waiting one at once; return the ids.

    A waiting one that only repeats the newest state, since an attempt had no answer, is repeated all the same
    when it is time: what it tells now may be too soon.

    Args:
        connection: a transaction that may write.
        now_us: the time, microseconds since the epoch.
        notification_id: one dead or waiting notification; None for all that are dead.
    """
    which = (
        text("state = 'dead' AND state <> 'delivered'")  # SQLite takes an index for its own words only
        if notification_id is None
        else and_(_row.id == notification_id, _row.state.in_([State.DEAD, State.WAITING]))
    )
    is_early = and_(_row.is_repeat, _row.state == State.WAITING, _row.next_attempt_us > now_us)
    return list(
        connection.execute(
            update(notifications)
            .where(which)
            .values(
                state=State.WAITING,
                attempts=0,
                next_attempt_us=now_us,
                due_since_us=now_us,
                unknown_since_us=None,
                not_before_us=None,
                resend_us=case((is_early, _row.next_attempt_us), else_=_row.resend_us),
                settled_us=None,
            )
            .returning(_row.id)
        ).scalars()
    )


def find_notification(connection: Connection, notification_id: int) -> RowMapping | None:
    """Return one notification, None if there is none with this id."""
    query = select(notifications).where(_row.id == notification_id)
    return connection.execute(query).mappings().first()


def find_notifications(
    connection: Connection,
    *,
    service: Service | None = None,
    state: State | None = None,
    payment_id: int | None = None,
    before_id: int | None = None,
    limit: int | None = None,
) -> Sequence[RowMapping]:
    """Return notifications, newest first.

    Args:
        connection: to read from.
        service: only those of this neighbour.
        state: only those in this state.
        payment_id: only those of this payment.
        before_id: only those with a smaller id: where the page before ended.
        limit: the most rows; None for all.
    """
    query = select(notifications).order_by(_row.id.desc()).limit(limit)
    if payment_id is not None:
        query = query.where(_row.payment_id == payment_id)
    if before_id is not None:
        query = query.where(_row.id < before_id)
    if state in (None, State.DELIVERED):  # most are, so a few rows from the newest on are a page
        if state is not None:
            query = query.where(_row.state == state)
        if service is not None:
            query = query.where(_row.service == service)
        return connection.execute(query).mappings().all()
    # from the index of what is not delivered, each neighbour's by itself
    few = text("state <> 'delivered'")  # SQLite takes an index for its own words only
    parts = [
        select(query.where(few, _row.state == state, _row.service == each).subquery())
        for each in ([service] if service else Service)
    ]
    both = union_all(*parts).subquery()
    return connection.execute(select(both).order_by(both.c.id.desc()).limit(limit)).mappings().all()


def find_told(connection: Connection, payment_ids: Collection[int]) -> Collection[int]:
    """Return those of the payments of which every neighbour was told, or of newer news in their place."""
    own = (
        select(_row.payment_id, _row.id)
        .where(_row.payment_id.in_(payment_ids), not_(_row.is_repeat))
        .cte("chain", recursive=True)
    )
    link = notifications.alias()
    chain = own.union(
        select(own.c.payment_id, link.c.superseded_by)
        .where(link.c.id == own.c.id, link.c.superseded_by.is_not(None))
        .correlate(None)
    )
    last = notifications.alias()
    was_told = case((last.c.state == State.DELIVERED, 1), else_=0)
    query = (
        select(chain.c.payment_id)
        .where(last.c.id == chain.c.id, last.c.superseded_by.is_(None))
        .group_by(chain.c.payment_id)
        .having(func.min(was_told) == 1)
    )
    return set(connection.execute(query).scalars())
