"""The log of events, oldest first, from where a reader has got to. Nobody who reads on misses one.

Up to where all events are there is in `storage.event_order`; which of a row's two events comes first, and
where a reader has got to, is here.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, func, select

from payment.core.errors import CursorGone, CursorInvalid
from payment.core.states import HAPPEN_TOGETHER, EventType
from payment.core.units import WHOLE_NUMBER_MAX
from payment.storage.event_order import last_final_id
from payment.storage.tables import FREQUENT_EVENTS, RARE_EVENTS, event_log, events, payments

_row = events.c
_EVENTS_A_ROW = 2
_PLACE = re.compile(r"(0|[1-9][0-9]{0,15})\.(0|[1-9][0-9]{0,15})", re.ASCII)


class Place(NamedTuple):
    """The event up to which somebody has read; its text is the event's id and a cursor.

    The time shows that it is this log's: after a backup was restored, other events get the same numbers.
    """

    number: int
    time_us: int

    def __str__(self) -> str:
        return f"{self.number}.{self.time_us}"

    @classmethod
    def of(cls, row: RowMapping, nth: int) -> "Place":
        """Return the place of one of the events of a row."""
        return cls(_EVENTS_A_ROW * row["id"] + nth, row["created_us"])

    @property
    def row_id(self) -> int:
        """Return the id of its row."""
        return self.number // _EVENTS_A_ROW

    @property
    def nth(self) -> int:
        """Say which of its row's events it is."""
        return self.number % _EVENTS_A_ROW


BEGINNING = Place(0, 0)
"""Before all events."""


def read_place(text: str) -> Place:
    """Return the place that a cursor, or an event's id, stands for.

    Raises:
        CursorInvalid: it is neither.
    """
    match = _PLACE.fullmatch(text)
    if match is None:
        raise CursorInvalid(field="after")
    number, time_us = map(int, match.groups())
    if max(number, time_us) > WHOLE_NUMBER_MAX:
        raise CursorInvalid(field="after")
    return Place(number, time_us)


@dataclass(frozen=True, slots=True)
class EventSelection:
    """Which events; None is any."""

    type: EventType | None = None
    order_id: int | None = None
    payment_id: int | None = None


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One event: its row says who and what of."""

    place: Place
    type: EventType
    row: RowMapping


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events, and where to read on.

    Attributes:
        place: the last one that was looked at; nothing before it is missing.
        has_more: more of them are there already.
        begins_us: since when events are kept, microseconds since the epoch.
    """

    events: Sequence[LoggedEvent]
    place: Place
    has_more: bool
    begins_us: int


def find_events(
    connection: Connection, selection: EventSelection, after: Place, limit: int, *, final_only: bool = True
) -> EventPage:
    """Return events, oldest first.

    Args:
        connection: to read from.
        selection: which.
        after: where the reader has got to.
        limit: the most events.
        final_only: only those before which no other can appear; else all that are committed, for who does
            not read on.

    Raises:
        CursorGone: that place is not in this log, or no longer.
    """
    _check(connection, after)
    until_id = last_final_id(connection) if final_only else WHOLE_NUMBER_MAX
    query = _selected(connection, selection).where(
        _row.id >= (after.number + 1) // _EVENTS_A_ROW, _row.id <= until_id
    )
    rows = connection.execute(query.limit(limit + 1)).mappings().all()
    found = [
        event for event in _events_of(rows) if event.place > after and selection.type in (None, event.type)
    ]
    has_more = len(found) > limit or len(rows) > limit
    found = found[:limit]
    last = None if has_more or not final_only else _last_place(connection, until_id)
    place = last or (found[-1].place if found else after)
    return EventPage(found, max(place, after), has_more, _begins_us(connection))


def find_newest_events(connection: Connection, selection: EventSelection, limit: int) -> EventPage:
    """Return the newest events of a selection, the oldest of them first; then `place` is the log's end."""
    until_id = last_final_id(connection)
    query = _selected(connection, selection, newest_first=True).where(_row.id <= until_id)
    rows = connection.execute(query.limit(limit)).mappings().all()
    found = [event for event in _events_of(rows[::-1]) if selection.type in (None, event.type)]
    place = _last_place(connection, until_id) or BEGINNING
    return EventPage(found[-limit:], place, has_more=False, begins_us=_begins_us(connection))


def find_newest_place(connection: Connection) -> Place:
    """Return the place of the newest event before which no other can appear."""
    return _last_place(connection, last_final_id(connection)) or BEGINNING


def _check(connection: Connection, after: Place) -> None:
    if after == BEGINNING:
        return
    row = connection.execute(select(events).where(_row.id == after.row_id)).mappings().first()
    if row is None or row["created_us"] != after.time_us or after.nth >= len(row["types"].split()):
        raise CursorGone(field="after")


def _selected(
    connection: Connection, selection: EventSelection, *, newest_first: bool = False
) -> Select[Any]:
    order: ColumnElement[int] = _row.id
    query = select(events)
    if selection.type is not None:
        fitting = [" ".join(types) for types in HAPPEN_TOGETHER if selection.type in types]
        query = query.where(_row.types.in_(fitting))
        if not set(fitting) & set(FREQUENT_EVENTS):
            query = query.where(RARE_EVENTS)  # the condition of their index
    payment_ids = _payments_of(connection, selection)
    if payment_ids is not None:
        query = query.where(_row.payment_id.in_(payment_ids), _row.payment_id.is_not(None))
        order = _row.id + 0  # a few rows by their own index, and none of the log in its order
    return query.order_by(order.desc() if newest_first else order)


def _payments_of(connection: Connection, selection: EventSelection) -> Sequence[int] | None:
    """Return the payments that are asked for, None for all."""
    if selection.order_id is None:
        return None if selection.payment_id is None else [selection.payment_id]
    of_order = select(payments.c.id).where(payments.c.order_id == selection.order_id)
    ids = connection.execute(of_order).scalars().all()
    return ids if selection.payment_id is None else [each for each in ids if each == selection.payment_id]


def _events_of(rows: Sequence[RowMapping]) -> Iterator[LoggedEvent]:
    for row in rows:
        for nth, name in enumerate(row["types"].split()):
            yield LoggedEvent(Place.of(row, nth), EventType(name), row)


def _last_place(connection: Connection, until_id: int) -> Place | None:
    last = select(events).where(_row.id <= until_id).order_by(_row.id.desc()).limit(1)
    row = connection.execute(last).mappings().first()
    return None if row is None else Place.of(row, len(row["types"].split()) - 1)


def _begins_us(connection: Connection) -> int:
    begins_us: int = connection.execute(select(func.max(event_log.c.begins_us))).scalar_one()
    return begins_us
