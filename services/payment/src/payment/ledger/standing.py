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
        facts: the columns that the status is computed from, and those that change with every change of it.
        status: computes the status from the facts, in their order.
    """

    target_id: Column[int]
    rows: FromClause
    of_target: Callable[[ColumnElement[int]], ColumnElement[bool]]
    facts: tuple[ColumnElement[Any], ...]
    status: Callable[..., Status]


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
    ),
    USER.name: Source(
        target_id=payments.c.user_id,
        rows=_newest,
        of_target=_is_guests_newest,
        facts=(_newest.c.status, _newest.c.id, _newest.c.updated_us),
        status=lambda newest_payment, *_: user_status(newest_payment),
    ),
}
"""By the neighbour's name."""


def with_facts(neighbour: Neighbour, table: Table, target_id: ColumnElement[int]) -> Select[Any]:
    """Return a query of a table's rows, each followed by the facts of the target that it names."""
    source = SOURCES[neighbour.name]
    facts = (fact.label(f"fact_{n}") for n, fact in enumerate(source.facts))
    # an outer join: the rows come first and are few, each looks its facts up by an index
    return select(table, *facts).select_from(table.outerjoin(source.rows, source.of_target(target_id)))


def facts_in(neighbour: Neighbour, row: Row[Any]) -> tuple[Any, ...]:
    """Return the facts in a row of `with_facts`, to be given to `status_of`."""
    return tuple(row._mapping[f"fact_{n}"] for n in range(len(SOURCES[neighbour.name].facts)))  # noqa: SLF001


def status_of(neighbour: Neighbour, row: Row[Any]) -> Status:
    """Return what the neighbour is to be told, given a row of `with_facts`."""
    return SOURCES[neighbour.name].status(*facts_in(neighbour, row))


def find_standings(
    connection: Connection, neighbour: Neighbour, payment_ids: Collection[int]
) -> dict[int, Standing]:
    """Return what a neighbour is to be told now of the targets of some payments, by the payment's id."""
    rows = connection.execute(_standings(neighbour), {"ids": payment_ids})
    return {
        row.id: Standing(status_of(neighbour, row), bool(row.is_waiting), facts_in(neighbour, row))
        for row in rows
    }


@cache
def _standings(neighbour: Neighbour) -> Select[Any]:
    target_id = SOURCES[neighbour.name].target_id
    query = with_facts(neighbour, payments, target_id).add_columns(
        exists()
        .where(
            notifications.c.service == neighbour.name,
            notifications.c.target_id == target_id,
            notifications.c.state == written(State.WAITING),
        )
        .label("is_waiting")
    )
    return query.where(payments.c.id.in_(bindparam("ids", type_=BigInteger, expanding=True)))
