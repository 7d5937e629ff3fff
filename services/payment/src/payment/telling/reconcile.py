"""Reconciliation: what Order and User say now, beside what we would tell them.

It walks all payments by the time they were made, a chunk at a time; each order and each guest is asked about
once, at its newest payment. What does not agree is looked at a second time before it counts, for a payment
may be booked and told in between. What is to be told again goes through the outbox like any other news, so
that there is never a second PUT at a time for one target.
"""

import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from sqlalchemy import Connection, exists, literal_column, not_, select, tuple_

from payment.core.neighbours import Service
from payment.core.states import Status, bill_status, user_status
from payment.ledger import known_routes as routes
from payment.ledger import outbox
from payment.ledger.audience import Notification
from payment.ledger.listing import Position
from payment.storage.base import Database
from payment.storage.tables import bills, notifications, payments
from payment.telling.downstream import NeighbourClient, Seen

CHUNK = 200
UNANSWERED_MAX = 20
"""After so many questions in a row without an answer a neighbour is not asked any more."""

_LOOK_S = 0.5


class Verdict(StrEnum):
    """What came of comparing one order or guest."""

    AGREES = "agrees"
    WAITING = "waiting"  # the news is on its way: no difference
    DIFFERS = "differs"
    UNKNOWN = "unknown"  # the neighbour has no such order or user
    UNANSWERED = "unanswered"  # it could not be asked


DISAGREEMENTS = (Verdict.DIFFERS, Verdict.UNKNOWN, Verdict.UNANSWERED)


@dataclass(frozen=True, slots=True)
class Target:
    """An order or a guest, and its newest payment."""

    service: Service
    id: int
    payment_id: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What we would tell of a target, and what its service says.

    Attributes:
        found: the status that the service gave; None if it gave none.
        error: why it gave none.
    """

    target: Target
    verdict: Verdict
    expected: Status
    found: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """What was found of some payments, the last of which was made at `until_us`."""

    findings: list[Finding]
    until_us: int


@dataclass(frozen=True, slots=True)
class _Standing:
    """What we would tell of a target now.

    Attributes:
        is_waiting: it has not been told yet.
        seal: changes with every change that may be told.
    """

    status: Status
    is_waiting: bool
    seal: tuple[int, ...]


def find_span(connection: Connection, since_us: int) -> tuple[int, int] | None:
    """Return when the first and the last payment since a time were made; None if there are none."""
    made_us = payments.c.created_us
    since = select(made_us).where(made_us >= since_us).limit(1)
    first_us = connection.execute(since.order_by(made_us)).scalar()
    last_us = connection.execute(since.order_by(made_us.desc())).scalar()
    return None if first_us is None or last_us is None else (first_us, last_us)


def reconcile(
    database: Database,
    clients: Mapping[Service, NeighbourClient],
    *,
    since_us: int,
    concurrency: int,
    repair: bool,
) -> Iterator[Chunk]:
    """Compare every order and guest whose newest payment was made at a time or later.

    Args:
        database: where the payments are.
        clients: the neighbours to ask.
        since_us: the time, microseconds since the epoch.
        concurrency: the most questions at a time.
        repair: have those that differ told again.
    """
    _look_up_routes(database, clients.values())
    with _Asking(clients, concurrency) as asking:
        after = Position(since_us, 0)
        while True:
            with database.read() as connection:
                targets, last = _targets_after(connection, after, clients.keys())
            if last is None:
                return
            findings = _compare(database, asking, targets)
            _keep_routes(database, clients.values())
            if repair:
                _tell_again(database, [each.target for each in findings if each.verdict is Verdict.DIFFERS])
            yield Chunk(findings, last.created_us)
            after = last


def _look_up_routes(database: Database, clients: Iterable[NeighbourClient]) -> None:
    """Let the clients know which of their routes have been seen to exist; only there is a 404 "unknown"."""
    with database.read() as connection:
        for client in clients:
            client.known_routes.update(routes.find_known(connection, client.routes))


def _keep_routes(database: Database, clients: Iterable[NeighbourClient]) -> None:
    seen = set().union(*(client.known_routes for client in clients))
    with database.read() as connection:
        new = seen - routes.find_known(connection, seen)
    if new:
        with database.write() as connection:
            routes.keep_known(connection, new, time.time_ns() // 1000)


def _tell_again(database: Database, targets: Iterable[Target]) -> None:
    news = [Notification(target.service, target.id, target.payment_id, None) for target in targets]
    if news:
        with database.write() as connection:
            outbox.enqueue(connection, news, time.time_ns() // 1000)


def _targets_after(
    connection: Connection, after: Position, services: Collection[Service]
) -> tuple[list[Target], Position | None]:
    """Return who the next payments are the newest of, and where the last of these payments is."""
    row, newer = payments.c, payments.alias()
    is_orders_newest = not_(exists().where(newer.c.order_id == row.order_id, newer.c.id > row.id))
    is_guests_newest = not_(exists().where(newer.c.user_id == row.user_id, newer.c.id > row.id))
    rows = connection.execute(
        select(
            row.id,
            row.created_us,
            row.order_id,
            row.user_id,
            is_orders_newest.label("is_orders_newest"),
            is_guests_newest.label("is_guests_newest"),
        )
        .where(tuple_(row.created_us, row.id) > (after.created_us, after.id))
        .order_by(row.created_us, row.id)
        .limit(CHUNK)
    ).all()
    targets = [Target(Service.ORDER, each.order_id, each.id) for each in rows if each.is_orders_newest]
    targets += [Target(Service.USER, each.user_id, each.id) for each in rows if each.is_guests_newest]
    asked = [target for target in targets if target.service in services]
    return asked, Position(rows[-1].created_us, rows[-1].id) if rows else None


def _compare(database: Database, asking: "_Asking", targets: Collection[Target]) -> list[Finding]:
    findings = {each.target: each for each in _look(_standings(database, targets), asking)}
    doubtful = [target for target in targets if findings[target].verdict in DISAGREEMENTS]
    before = _standings(database, doubtful)
    again = _look(before, asking)
    after = _standings(database, doubtful)
    for each in again:
        is_moving = after[each.target] != before[each.target]
        findings[each.target] = Finding(each.target, Verdict.WAITING, each.expected) if is_moving else each
    return list(findings.values())


def _look(standings: Mapping[Target, _Standing], asking: "_Asking") -> list[Finding]:
    to_ask = [target for target, standing in standings.items() if not standing.is_waiting]
    seen = asking.ask_all(to_ask)
    return [_judge(target, standing, seen.get(target)) for target, standing in standings.items()]


def _judge(target: Target, standing: _Standing, seen: Seen | None) -> Finding:
    expected = standing.status
    if seen is None:
        return Finding(target, Verdict.WAITING, expected)
    if seen.status is None:
        verdict = Verdict.UNKNOWN if seen.is_unknown else Verdict.UNANSWERED
        return Finding(target, verdict, expected, error=seen.error)
    verdict = Verdict.AGREES if seen.status == expected else Verdict.DIFFERS
    return Finding(target, verdict, expected, found=seen.status)


def _standings(database: Database, targets: Collection[Target]) -> dict[Target, _Standing]:
    if not targets:
        return {}
    with database.read() as connection:
        of_orders = _orders(connection, [each for each in targets if each.service is Service.ORDER])
        return of_orders | _guests(connection, [each for each in targets if each.service is Service.USER])


def _orders(connection: Connection, targets: Collection[Target]) -> dict[Target, _Standing]:
    row = bills.c
    waiting = _is_waiting(Service.ORDER, row.order_id)
    ids = [target.id for target in targets]
    rows = connection.execute(select(bills, waiting.label("is_waiting")).where(row.order_id.in_(ids)))
    found = {each.order_id: each for each in rows}
    return {target: _standing_of_bill(found[target.id]) for target in targets}


def _standing_of_bill(row: Any) -> _Standing:
    status = bill_status(row.total, row.paid, row.pending)
    return _Standing(status, row.is_waiting, (row.total, row.paid, row.pending))


def _guests(connection: Connection, targets: Collection[Target]) -> dict[Target, _Standing]:
    row, other = payments.c, payments.alias()
    newest_id = (
        select(other.c.id)
        .where(other.c.user_id == row.user_id)
        .order_by(other.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    newest = payments.alias()
    waiting = _is_waiting(Service.USER, row.user_id)
    rows = connection.execute(
        select(row.user_id, newest.c.id, newest.c.status, newest.c.updated_us, waiting.label("is_waiting"))
        .join_from(payments, newest, newest.c.id == newest_id)
        .where(row.id.in_([target.payment_id for target in targets]))
    )
    found = {each.user_id: each for each in rows}
    return {target: _standing_of_guest(found[target.id]) for target in targets}


def _standing_of_guest(row: Any) -> _Standing:
    return _Standing(user_status(row.status), row.is_waiting, (row.id, row.updated_us))


def _is_waiting(service: Service, target_id: Any) -> Any:
    return exists().where(
        notifications.c.service == service,
        notifications.c.target_id == target_id,
        literal_column("notifications.state") == literal_column("'waiting'"),  # the index's own words
    )


class _Asking:
    """Asks the neighbours, several questions at a time, none for longer than a call may take."""

    def __init__(self, clients: Mapping[Service, NeighbourClient], concurrency: int) -> None:
        self._clients = clients
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="ask")
        self._silences: dict[Service, list[str]] = {service: [] for service in clients}  # in a row
        self._asking_since_s: dict[int, tuple[Service, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def ask_all(self, targets: Collection[Target]) -> dict[Target, Seen]:
        """Return what the neighbours say."""
        answers = {target: self._threads.submit(self._ask, target) for target in targets}
        pending: set[Future[Seen]] = set(answers.values())
        while pending:
            _, pending = wait(pending, timeout=_LOOK_S)
            self._give_up_the_slow()
        return {target: answer.result() for target, answer in answers.items()}

    def _ask(self, target: Target) -> Seen:
        service = target.service
        silences = self._silences[service]
        if len(silences) >= UNANSWERED_MAX:
            said = f"not asked: {service} did not answer {UNANSWERED_MAX} times in a row"
            return Seen(None, f"{said}, last: {silences[-1]}")
        self._asking_since_s[threading.get_ident()] = service, time.monotonic()
        try:
            seen = self._clients[service].read(target.id)
        finally:
            del self._asking_since_s[threading.get_ident()]
        if seen.is_silent:
            silences.append(seen.error or "")
        else:
            silences.clear()
        return seen

    def _give_up_the_slow(self) -> None:
        for thread_id, (service, since_s) in list(self._asking_since_s.items()):
            client = self._clients[service]
            if time.monotonic() - since_s > client.deadline_s:
                client.give_up(thread_id)
