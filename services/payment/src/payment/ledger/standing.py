"""What a neighbour is to be told now: one statement for each, used to tell it and to compare with it.

A neighbour's source joins one row to a target (an order, a guest). From that row's facts the status is
computed.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    Table,
    bindparam,
    exists,
    select,
)

from payment.core.neighbours import ORDER, USER, Neighbour
from payment.core.states import State, Status, bill_status, user_status
from payment.storage.literals import written
from payment.storage.tables import bills, notifications, payments


@dataclass(frozen=True, slots=True)
class Source:
    """Where the status that a neighbour is told comes from.

    Attributes:
        target_id: the column of `payments` that holds the neighbour's target.
        rows: the table that knows the status, or an alias of it.
        of_target: says which of its rows belongs to a target; never more than one.
        facts: the columns that the status is computed from.
        status: computes it from the facts, in their order.
        seal: columns of which one changes with every change that the neighbour may be told.
    """

    target_id: Column[int]
    rows: FromClause
    of_target: Callable[[ColumnElement[int]], ColumnElement[bool]]
    facts: tuple[ColumnElement[Any], ...]
    status: Callable[..., Status]
    seal: tuple[ColumnElement[Any], ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """What a target's neighbour is to be told now.

    Attributes:
        is_waiting: True if a notification still waits to tell it.
        seal: two looks with the same seal saw the same state.
    """

    status: Status
    is_waiting: bool
    seal: tuple[Any, ...]


_newest = payments.alias("newest")


def _is_guests_newest(user_id: ColumnElement[int]) -> ColumnElement[bool]:
    each = payments.alias("each")
    newest_id = select(each.c.id).where(each.c.user_id == user_id).order_by(each.c.id.desc()).limit(1)
    return _newest.c.id == newest_id.scalar_subquery()


SOURCES: dict[str, Source] = {
    ORDER.name: Source(
        target_id=payments.c.order_id,
        rows=bills,
        of_target=lambda order_id: bills.c.order_id == order_id,
        facts=(bills.c.total, bills.c.paid, bills.c.pending),
        status=bill_status,
        seal=(bills.c.total, bills.c.paid, bills.c.pending),
    ),
    USER.name: Source(
        target_id=payments.c.user_id,
        rows=_newest,
        of_target=_is_guests_newest,
        facts=(_newest.c.status,),
        status=user_status,
        seal=(_newest.c.id, _newest.c.updated_us),
    ),
}
"""By the neighbour's name."""


def with_facts(
    neighbour: Neighbour, table: Table, target_id: ColumnElement[int], *more: ColumnElement[Any]
) -> Select[Any]:
    """Return a query of a table's rows, each followed by more columns and the facts of its target.

    Give a row of it to `status_of`.
    """
    source = SOURCES[neighbour.name]
    # an outer join: the table's rows come first and are few, each finds its facts by an index
    joined = table.outerjoin(source.rows, source.of_target(target_id))
    facts = (fact.label(f"fact_{n}") for n, fact in enumerate(source.facts))
    return select(table, *more, *facts).select_from(joined)


def status_of(neighbour: Neighbour, row: Row[Any]) -> Status:
    """Return what the neighbour is to be told, given a row of `with_facts`."""
    source = SOURCES[neighbour.name]
    return source.status(*row[-len(source.facts) :])


def find_standings(
    connection: Connection, neighbour: Neighbour, payment_ids: Collection[int]
) -> dict[int, Standing]:
    """Return what a neighbour is to be told now of the targets of some payments, by the payment's id."""
    seal = [f"seal_{n}" for n in range(len(SOURCES[neighbour.name].seal))]
    rows = connection.execute(_standings(neighbour), {"ids": payment_ids})
    return {
        row.id: Standing(
            status_of(neighbour, row), bool(row.is_waiting), tuple(getattr(row, name) for name in seal)
        )
        for row in rows
    }


@cache
def _standings(neighbour: Neighbour) -> Select[Any]:
    source = SOURCES[neighbour.name]
    is_waiting = exists().where(
        notifications.c.service == neighbour.name,
        notifications.c.target_id == source.target_id,
        notifications.c.state == written(State.WAITING),
    )
    seal = (column.label(f"seal_{n}") for n, column in enumerate(source.seal))
    query = with_facts(neighbour, payments, source.target_id, is_waiting.label("is_waiting"), *seal)
    return query.where(payments.c.id.in_(bindparam("ids", type_=BigInteger, expanding=True)))
