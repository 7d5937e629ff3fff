"""Reconciliation: what Order and User say now, beside what we would tell them.

It walks all payments by the time they were made, a chunk at a time; each order and each guest is asked about
once, at its newest payment. What does not agree is looked at a second time before it counts, for a payment
may be booked and told in between. What is to be told again goes through the outbox like any other news, so
that there is never a second PUT at a time for one target.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, not_, select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from payment.core.cause import Cause
from payment.core.logs import facts_of, get_logger
from payment.core.neighbours import Neighbour
from payment.core.states import DISAGREEMENTS, Status, Verdict
from payment.ledger import known_routes as routes
from payment.ledger import outbox
from payment.ledger.audience import HEARS, Change, Notification
from payment.ledger.listing import Position
from payment.ledger.standing import SOURCES, Standing, find_standings
from payment.storage.base import Database
from payment.storage.tables import payments
from payment.telling.asking import Asking, Target
from payment.telling.downstream import NeighbourClient, RemoteState

CHUNK = 200


@dataclass(frozen=True, slots=True)
class Finding:
    """What we would tell of a target, and what its neighbour says.

    Attributes:
        found: the status that the neighbour gave; None if it gave none.
        error: why it gave none.
    """

    target: Target
    verdict: Verdict
    expected: Status
    found: str | None = None
    error: str | None = None

    def facts(self) -> dict[str, Any]:
        """Return what is shown of it."""
        return {
            "service": self.target.neighbour.name,
            "target_id": self.target.id,
            "verdict": self.verdict.value,
            "expected": self.expected.value,
            "found": self.found,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class Chunk:
    """What was found of some payments, and where the last of them is."""

    findings: Sequence[Finding]
    last: Position


def reconcile(
    database: Database,
    clients: Collection[NeighbourClient],
    *,
    after: Position,
    until_us: int,
    concurrency: int,
    patience_s: Sequence[float] = (),
    goes_on: Callable[[], bool] = lambda: True,
) -> Iterator[Chunk]:
    """Compare every order and guest whose newest payment comes after a place in the list by time.

    Args:
        database: where the payments are.
        clients: the neighbours to ask.
        after: the place.
        until_us: when the last payment to be looked at was made; later ones are news, which the outbox has.
        concurrency: the most questions at a time.
        patience_s: how long to wait, time after time, before neighbours that do not answer are asked again;
            after that they are not asked any more.
        goes_on: says whether to go on; asked now and then.

    Raises:
        BrokenOff: it does not go on.
    """
    asked = [client.neighbour for client in clients]
    _look_up_routes(database, clients)
    waits_s = iter(patience_s)
    with Asking(clients, concurrency, goes_on) as asking:
        while True:
            with database.read() as connection:
                targets, last = _targets_between(connection, after, until_us, asked)
            if last is None:
                return
            findings = _compare(database, asking, targets)
            if asking.has_given_up:
                if (wait_s := next(waits_s, None)) is not None:
                    get_logger().info("somebody does not answer and is asked again", wait_s=wait_s)
                    asking.hope_again(wait_s)
                    continue
            else:
                waits_s = iter(patience_s)
            _keep_routes(database, clients)
            yield Chunk(findings, last)
            after = last


def tell_again(connection: Connection, findings: Iterable[Finding], cause: Cause) -> None:
    """Have those that differ told again, by the worker like any other news.

    Args:
        connection: whose transaction writes it.
        findings: what was found.
        cause: who wants it.
    """
    differ = [each.target for each in findings if each.verdict is Verdict.DIFFERS]
    row = payments.c
    still_there = select(row.id).where(row.id.in_([target.payment_id for target in differ]))
    # `prune` may be deleting them; FOR KEY SHARE, which SQLite leaves out, holds those that are there
    there = set(connection.execute(still_there.with_for_update(read=True, key_share=True)).scalars())
    news = [
        Notification(target.neighbour, target.id, target.payment_id, cause)
        for target in differ
        if target.payment_id in there
    ]
    outbox.tell_again(connection, news, time.time_ns() // 1000)


def _look_up_routes(database: Database, clients: Iterable[NeighbourClient]) -> None:
    """Let the clients know which of their routes have been seen to exist; only there is a 404 "unknown"."""
    with database.read() as connection:
        for client in clients:
            client.known_routes.update(routes.find_known(connection, client.routes))


def _keep_routes(database: Database, clients: Iterable[NeighbourClient]) -> None:
    """Note the routes that were seen to exist, for later runs; a database that can only be read need not."""
    seen = set().union(*(client.known_routes for client in clients))
    with database.read() as connection:
        new = seen - routes.find_known(connection, seen)
    if new:
        try:
            with database.write() as connection:
                routes.keep_known(connection, new, time.time_ns() // 1000)
        except SQLAlchemyError as error:
            get_logger().info("known routes are not kept", **facts_of(error))


def _targets_between(
    connection: Connection, after: Position, until_us: int, neighbours: Collection[Neighbour]
) -> tuple[list[Target], Position | None]:
    """Return what the next payments are the newest of, and where the last of these payments is.

    Of a payment that a neighbour does not hear of, it is not asked.
    """
    row, newer = payments.c, payments.alias()

    def is_newest_of(column: str) -> ColumnElement[bool]:
        return not_(exists().where(newer.c[column] == row[column], newer.c.id > row.id))

    columns = {neighbour: SOURCES[neighbour.name].target_id.key for neighbour in neighbours}
    rows = connection.execute(
        select(
            row.id,
            row.created_us,
            row.order_id,
            row.user_id,
            row.status,
            is_newest_of("user_id").label("is_newest"),
            *(is_newest_of(column).label(f"is_newest_of_{column}") for column in set(columns.values())),
        )
        .where(tuple_(row.created_us, row.id) > (after.created_us, after.id), row.created_us <= until_us)
        .order_by(row.created_us, row.id)
        .limit(CHUNK)
    ).all()
    targets = [
        Target(neighbour, target_id, each.id)
        for neighbour, column in columns.items()
        for each in rows
        if each._mapping[f"is_newest_of_{column}"]  # noqa: SLF001  # SQLAlchemy's public name
        and (target_id := _target_in(neighbour, each)) is not None
    ]
    return targets, Position(rows[-1].created_us, rows[-1].id) if rows else None


def _target_in(neighbour: Neighbour, row: Row[Any]) -> int | None:
    change = Change(row.id, row.order_id, row.user_id, Status(row.status), is_newest=row.is_newest)
    return HEARS[neighbour.name](change)


def _compare(database: Database, asking: Asking, targets: Collection[Target]) -> list[Finding]:
    findings = {each.target: each for each in _look(_stand_now(database, targets), asking)}
    doubtful = [each.target for each in findings.values() if each.verdict in DISAGREEMENTS]
    before = _stand_now(database, doubtful)
    again = {each.target: each for each in _look(before, asking)}
    after = _stand_now(database, doubtful)
    for target in doubtful:
        if target not in after:  # pruned meanwhile
            del findings[target]
            continue
        each = again[target]
        is_moving = after[target] != before[target]
        findings[target] = Finding(target, Verdict.WAITING, each.expected) if is_moving else each
    return list(findings.values())


def _look(standings: Mapping[Target, Standing], asking: Asking) -> list[Finding]:
    to_ask = [target for target, standing in standings.items() if not standing.is_waiting]
    known = asking.ask_all(to_ask)
    return [_verdict_on(target, standing, known.get(target)) for target, standing in standings.items()]


def _verdict_on(target: Target, standing: Standing, known: RemoteState | None) -> Finding:
    expected = standing.status
    if known is None:
        return Finding(target, Verdict.WAITING, expected)
    if known.status is None:
        verdict = Verdict.UNKNOWN if known.is_unknown else Verdict.UNANSWERED
        return Finding(target, verdict, expected, error=known.error)
    verdict = Verdict.AGREES if known.status == expected else Verdict.DIFFERS
    return Finding(target, verdict, expected, found=known.status)


def _stand_now(database: Database, targets: Collection[Target]) -> dict[Target, Standing]:
    """Return what is to be told now of each target whose payment is still there."""
    standings: dict[Target, Standing] = {}
    with database.read() as connection:
        for neighbour in dict.fromkeys(target.neighbour for target in targets):
            its_own = [target for target in targets if target.neighbour is neighbour]
            found = find_standings(connection, neighbour, [target.payment_id for target in its_own])
            standings |= {each: found[each.payment_id] for each in its_own if each.payment_id in found}
    return standings
