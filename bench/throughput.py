"""`POST /payments` and `GET /payments/{id}`: ours beside the peers, in interleaved rounds."""

import contextlib
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import URL

from bench.compare import Comparison, Contender, Plan, compare, pay_orders, probe, problems_of, ratios
from bench.databases import (
    count_rows,
    migrated,
    payment_ids,
    postgres_database,
    sqlite_database,
    text_of,
)
from bench.load import Gets, run_load
from bench.report import Goal, Measured, Row
from bench.servers import Running, Server, asgi_peer, payment, running, stub, wsgi_peer

OURS = "payment"
ASYNCPG = "fastapi_asyncpg"
ORM = "fastapi_orm"
INLINE = "flask_inline"
INLINE_THREADS = 16

OUTBOX = {"bills": 1, "payments": 1, "notifications": 2}
NO_OUTBOX = {"bills": 1, "payments": 1}
READ_PAYMENTS = 2000
"""How many different payments are read."""

POST_GOALS = {ASYNCPG: Goal(2.0, least=1.0), ORM: Goal(12.0)}


@dataclass(frozen=True, slots=True)
class Subject:
    """A service under test, its database, and what one accepted payment leaves there."""

    server: Server
    database: URL
    rows_per_payment: Mapping[str, int]


def post_postgres(plan: Plan) -> Measured:
    """`POST /payments` on PostgreSQL."""
    with contextlib.ExitStack() as stack:
        neighbours = {
            f"{name.upper()}_SERVICE_URL": stack.enter_context(running(stub(name), plan.directory)).url
            for name in ("order", "user")
        }
        subjects = [*_on_postgres(plan, "post"), _inline(plan, neighbours)]
        return _post(plan, subjects, "POST /payments, PostgreSQL", POST_GOALS)


def post_sqlite(plan: Plan) -> Measured:
    """`POST /payments` on SQLite."""
    ours, orm = (sqlite_database(plan.directory, name) for name in (OURS, ORM))
    subjects = [
        Subject(payment("--no-worker", DATABASE_URL=text_of(ours)), ours, OUTBOX),
        Subject(_fastapi(ORM, orm), orm, OUTBOX),
    ]
    return _post(plan, subjects, "POST /payments, SQLite", {})


def get_postgres(plan: Plan) -> Measured:
    """`GET /payments/{id}` on PostgreSQL."""
    measured = Measured([], [])
    with contextlib.ExitStack() as stack:
        contenders: list[Contender] = []
        for subject in _on_postgres(plan, "get"):
            service = stack.enter_context(running(subject.server, plan.directory))
            probe(service)
            booked = run_load(
                service.host, service.port, pay_orders(1), duration_s=60, requests_max=READ_PAYMENTS
            )
            measured.problems.extend(f"{service.name}, booking: {said}" for said in problems_of(booked))
            ids = payment_ids(subject.database, READ_PAYMENTS)
            contenders.append(_read(service, ids))
        comparison = compare(contenders, plan)
    measured.add(_rows(comparison, "GET /payments/{id}, PostgreSQL", {}))
    measured.problems.extend(comparison.problems)
    return measured


def _on_postgres(plan: Plan, what: str) -> list[Subject]:
    ours, asyncpg, orm = (postgres_database(plan.postgres, f"{what}_{name}") for name in (OURS, ASYNCPG, ORM))
    migrated(ours)
    return [
        Subject(payment("--no-worker", DATABASE_URL=text_of(ours)), ours, OUTBOX),
        Subject(_fastapi(ASYNCPG, asyncpg), asyncpg, OUTBOX),
        Subject(_fastapi(ORM, orm.set(drivername="postgresql+psycopg")), orm, OUTBOX),
    ]


def _fastapi(name: str, database: URL) -> Server:
    return asgi_peer(name, f"bench.peers.{name}.app:app", DATABASE_URL=text_of(database))


def _inline(plan: Plan, neighbours: Mapping[str, str]) -> Subject:
    database = postgres_database(plan.postgres, f"post_{INLINE}")
    server = wsgi_peer(
        INLINE,
        f"bench.peers.{INLINE}.app:app",
        threads=INLINE_THREADS,
        DATABASE_URL=text_of(database),
        **neighbours,
    )
    return Subject(server, database, NO_OUTBOX)


def _post(plan: Plan, subjects: list[Subject], what: str, goals: Mapping[str, Goal]) -> Measured:
    with contextlib.ExitStack() as stack:
        services = [stack.enter_context(running(subject.server, plan.directory)) for subject in subjects]
        for service in services:
            probe(service)
        comparison = compare([_paid(service) for service in services], plan)
    problems = list(comparison.problems)
    for subject in subjects:
        name = subject.server.name
        accepted = 1 + comparison.accepted[name]  # one by the probe
        wanted = {table: rows * accepted for table, rows in subject.rows_per_payment.items()}
        stored = count_rows(subject.database, list(wanted))
        if stored != wanted:
            problems.append(f"{name}: wanted the rows {wanted}, found {stored}")
    return Measured(_rows(comparison, what, goals), problems)


def _paid(service: Running) -> Contender:
    return Contender(service.name, service, pay_orders)


def _read(service: Running, ids: tuple[int, ...]) -> Contender:
    return Contender(service.name, service, lambda _run: Gets(tuple(f"/payments/{each}" for each in ids)))


def _rows(comparison: Comparison, what: str, goals: Mapping[str, Goal]) -> list[Row]:
    rates = {name: [each.per_second for each in of] for name, of in comparison.results.items()}
    return [
        Row(
            what,
            name,
            statistics.median(rates[name]),
            "req/s",
            p99_ms=statistics.median(each.p99_ms for each in results),
            ours_by_it=None if name == OURS else ratios(rates[OURS], rates[name]),
            goal=goals.get(name),
        )
        for name, results in comparison.results.items()
    ]
