"""The outbox: what has to be told. Enqueue, look up, send again (all that are dead: `resending`).

Level-triggered (docs/decisions/0004): a row says *whom* to tell, the state told is computed when the row is
claimed (`claims`). Nothing is ever dropped: a row ends `delivered`, `superseded` by a newer one for the same
target, or `dead` where everybody can see it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    and_,
    case,
    func,
    not_,
    select,
    union_all,
    update,
)

from payment.core.cause import Cause
from payment.core.neighbours import NEIGHBOURS
from payment.core.states import EventType, Outcome, State
from payment.ledger.audience import Notification
from payment.ledger.events import Event, append
from payment.storage.literals import written
from payment.storage.tables import notifications

_row = notifications.c

IDS_MAX = 1000
"""The most ids in one statement."""

NOT_DELIVERED = _row.state != written(State.DELIVERED)
"""The condition of the index of what is not delivered: SQLite does not conclude it from another state."""

HAS_FAILED = _row.last_outcome != written(Outcome.DELIVERED)
"""The condition of the index of what failed and was not delivered since."""


def tell_again(connection: Connection, news: Sequence[Notification], now_us: int) -> None:
    """Write notifications of what a neighbour should know already, and that they were asked for."""
    insert = notifications.insert().returning(_row.id)
    causes = {}
    for item, row in zip(news, rows_of(news, now_us), strict=True):
        causes[connection.execute(insert, row).scalar_one()] = item.cause
    note(connection, EventType.NOTIFICATION_RETRIED, causes, now_us)


def rows_of(news: Iterable[Notification], now_us: int) -> list[dict[str, Any]]:
    """Return notifications as rows to be inserted."""
    return [
        {
            "service": item.neighbour.name,
            "target_id": item.target_id,
            "payment_id": item.payment_id,
            "traceparent": item.cause.traceparent,
            "request_id": item.cause.request_id,
            "state": State.WAITING,
            "next_attempt_us": now_us,
            "created_us": now_us,
            "due_since_us": now_us,
        }
        for item in news
    ]


def send_again(connection: Connection, now_us: int, cause: Cause, ids: Sequence[int]) -> list[int]:
    """Send dead notifications again, and try waiting ones at once; return the ids of those that were such.

    A waiting one that only repeats the newest state, since an attempt had no answer, is repeated all the same
    when it is time: what it tells now may be too soon.

    Args:
        connection: a transaction that may write.
        now_us: the time, microseconds since the epoch.
        cause: who wants it.
        ids: which notifications, at most IDS_MAX.
    """
    is_early = and_(_row.is_repeat, _row.state == State.WAITING, _row.next_attempt_us > now_us)
    sent = list(
        connection.execute(
            update(notifications)
            .where(_row.id.in_(ids), _row.state.in_([State.DEAD, State.WAITING]))
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
    note(connection, EventType.NOTIFICATION_RETRIED, dict.fromkeys(sorted(sent), cause), now_us)
    return sent


def note(connection: Connection, what: EventType, causes: Mapping[int, Cause], now_us: int) -> None:
    """Write that this happened to notifications, in the transaction in which they changed.

    Args:
        connection: that transaction.
        what: what happened.
        causes: the ids of the notifications, with who or what did it to each.
        now_us: the time, microseconds since the epoch.
    """
    ids = list(causes)
    for first in range(0, len(ids), IDS_MAX):
        some = _row.id.in_(ids[first : first + IDS_MAX])
        rows = connection.execute(select(notifications).where(some).order_by(_row.id)).mappings()
        happened = [Event((what,), row["payment_id"], dict(row), causes[row["id"]]) for row in rows]
        append(connection, happened, now_us)


def find_notification(connection: Connection, notification_id: int) -> RowMapping | None:
    """Return one notification, None if there is none with this id."""
    query = select(notifications).where(_row.id == notification_id)
    return connection.execute(query).mappings().first()


def find_notifications(
    connection: Connection,
    *,
    service: str | None = None,
    state: State | None = None,
    failed_by: Outcome | None = None,
    payment_id: int | None = None,
    before_id: int | None = None,
    limit: int | None = None,
) -> Sequence[RowMapping]:
    """Return notifications, newest first.

    Args:
        connection: to read from.
        service: only those of the neighbour with this name.
        state: only those in this state.
        failed_by: only those whose last attempt failed, by this.
        payment_id: only those of this payment.
        before_id: only those with a smaller id: where the page before ended.
        limit: the most rows; None for all.
    """
    query = select(notifications).order_by(_row.id.desc()).limit(limit)
    if payment_id is not None:
        query = query.where(_row.payment_id == payment_id)
    if before_id is not None:
        query = query.where(_row.id < before_id)
    if failed_by is None and state in (
        None,
        State.DELIVERED,
    ):  # most are, so a few rows from the newest on are a page
        if state is not None:
            query = query.where(_row.state == state)
        if service is not None:
            query = query.where(_row.service == service)
        return connection.execute(query).mappings().all()
    parts = [select(query.where(part).subquery()) for part in _not_delivered(service, state, failed_by)]
    both = union_all(*parts).subquery()
    return connection.execute(select(both).order_by(both.c.id.desc()).limit(limit)).mappings().all()


def _not_delivered(
    service: str | None, state: State | None, failed_by: Outcome | None
) -> Iterator[ColumnElement[bool]]:
    """Yield conditions: each is one range of the index of what is not delivered, or of what failed."""
    for each in [service] if service else NEIGHBOURS:
        if failed_by is None:
            yield and_(NOT_DELIVERED, _row.state == state, _row.service == each)
            continue
        failed = and_(HAS_FAILED, _row.last_outcome == failed_by, _row.service == each)
        for one in [state] if state else (State.WAITING, State.SUPERSEDED, State.DEAD):
            yield and_(failed, _row.state == one)


def find_told(connection: Connection, payment_ids: Collection[int]) -> Collection[int]:
    """Return those of the payments of which every neighbour that is waited for was told.

    It was told of the payment itself, or of newer news in its place.
    """
    waited_for = [neighbour.name for neighbour in NEIGHBOURS.values() if neighbour.is_waited_for]
    own = (
        select(_row.payment_id, _row.id)
        .where(_row.payment_id.in_(payment_ids), _row.service.in_(waited_for), not_(_row.is_repeat))
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
