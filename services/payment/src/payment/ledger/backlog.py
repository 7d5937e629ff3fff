"""The backlog: what a neighbour has not been told, since when, and why. It reads few rows, however many."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    Connection,
    Integer,
    ScalarSelect,
    Select,
    Text,
    bindparam,
    func,
    literal_column,
    select,
)

from payment.core.states import FAILED, Outcome, State
from payment.ledger.outbox import HAS_FAILED, NOT_DELIVERED
from payment.storage.literals import written
from payment.storage.tables import notifications

COUNTED_MAX = 100_000
"""No more are counted of anything: an index of that many entries is read in a few milliseconds."""

_row = notifications.c
_SERVICE = bindparam("of_service", type_=Text)
_COUNTED_MAX = bindparam("counted_max", type_=Integer)

_KINDS = [(state, outcome) for state in (State.DEAD, State.WAITING) for outcome in (None, *FAILED)]
"""What is counted: all in a state, and those of them whose last attempt failed by each of these."""


@dataclass(frozen=True, slots=True)
class FailedBy:
    """How many are in a state whose last attempt failed by this; None: no attempt was made."""

    state: State
    outcome: Outcome | None
    notifications: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a neighbour has not been told; at most COUNTED_MAX are counted of each kind.

    Attributes:
        service: the neighbour's name.
        waiting: how many wait to be told.
        dead: how many are not tried any more.
        oldest_waiting_us: when the oldest that waits was made; None if none does.
        causes: what the last attempts failed by, those first that are dead; none of which there are none.
    """

    service: str
    waiting: int
    dead: int
    oldest_waiting_us: int | None
    causes: Sequence[FailedBy]


def find_backlog(connection: Connection, service: str) -> Backlog:
    """Return what a neighbour has not been told."""
    asked = {"of_service": service, "counted_max": COUNTED_MAX}
    counted = dict(zip(_KINDS, connection.execute(_counts(), asked).one(), strict=True))
    causes = []
    for state in (State.DEAD, State.WAITING):
        failed = [FailedBy(state, outcome, counted[state, outcome]) for outcome in FAILED]
        untried = counted[state, None] - sum(each.notifications for each in failed)
        causes += [*failed, FailedBy(state, None, untried)]
    return Backlog(
        service,
        waiting=counted[State.WAITING, None],
        dead=counted[State.DEAD, None],
        oldest_waiting_us=oldest_waiting_us(connection, service),
        causes=[each for each in causes if each.notifications > 0],
    )


def count_notifications(connection: Connection, service: str, state: State) -> int:
    """Return how many of a neighbour's notifications are in a state, at most COUNTED_MAX; not `delivered`."""
    asked = {"of_service": service, "counted_max": COUNTED_MAX}
    number: int = connection.execute(select(_number(state, None)), asked).scalar_one()
    return number


def oldest_waiting_us(connection: Connection, service: str) -> int | None:
    """Return when a neighbour's oldest notification that waits was made, None if none waits."""
    which = (NOT_DELIVERED, _row.state == written(State.WAITING), _row.service == service)
    created_us: int | None = connection.execute(
        select(_row.created_us).where(*which).order_by(_row.id).limit(1)
    ).scalar()
    return created_us


@cache
def _counts() -> Select[*tuple[Any, ...]]:
    """Return all counts as one statement: they are of one moment."""
    return select(*(_number(state, outcome) for state, outcome in _KINDS))


def _number(state: State, outcome: Outcome | None) -> ScalarSelect[int]:
    """Return how many there are, as one range of an index of their own."""
    some = select(literal_column("1", Integer)).where(_row.service == _SERVICE, _row.state == written(state))
    if outcome is None:
        some = some.where(NOT_DELIVERED)
    else:
        some = some.where(HAS_FAILED, _row.last_outcome == written(outcome))
    return select(func.count()).select_from(some.limit(_COUNTED_MAX).subquery()).scalar_subquery()
