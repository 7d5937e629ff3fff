"""`POST /payments` and `GET /payments/{id}`: ours beside the peers, in interleaved rounds."""

import contextlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from sqlalchemy import URL

from bench.compare import (
    Comparison,
    Contender,
    Cost,
    Plan,
    compare,
    pay_orders,
    probe,
    problems_of,
    ratios,
)
from bench.databases import (
    count_rows,
    migrated,
    payment_ids,
    postgres_database,
    sqlite_database,
    text_of,
)
from bench.load import Gets, run_load
from bench.postgres_seen import Postgres
from bench.report import Goal, Measured, Row
from bench.servers import Running, Server, asgi_peer, payment, running

OURS = "payment"
ASYNCPG = "fastapi_asyncpg"
ORM = "fastapi_orm"
THIN = "fastapi_thin"

OUTBOX = {"bills": 1, "payments": 1, "notifications": 2}
ALONE = {"payments": 1}
READ_PAYMENTS = 2000
"""How many different payments are read."""

POST_GOALS = {
    1: {ASYNCPG: Goal(1.0), THIN: Goal(0.8)},
    16: {ASYNCPG: Goal(1.8), THIN: Goal(1.2), ORM: Goal(10.0)},
    64: {ASYNCPG: Goal(3.0), THIN: Goal(2.0)},
}
"""By the number of connections."""

CPU_GOALS = {16: Goal(150, is_ceiling=True)}


@dataclass(frozen=True, slots=True)
class Subject:
    """A service under test, its database, and what one accepted payment leaves there."""

    server: Server
    database: URL
    rows_per_payment: Mapping[str, int]


def post_postgres(plan: Plan) -> Measured:
    """`POST /payments` on PostgreSQL, at several numbers of connections."""
    subjects = [*on_postgres(plan, "post"), _thin(plan)]
    measured = Measured([], [])
    costs: list[Row] = []
    with _probed(plan, subjects) as services, Postgres.of(plan.postgres) as postgres:
        accepted = dict.fromkeys((service.name for service in services), 0)
        for n, connections in enumerate(plan.counts):
            comparison = compare(
                [_paid(service) for service in services],
                replace(plan, connections=connections),
                postgres=postgres,
                runs_before=n * len(services) * (plan.rounds + 1),
            )
            what = f"POST /payments, PostgreSQL, {_connections(connections)}"
            measured.add(_rows(comparison, what, POST_GOALS.get(connections, {})))
            measured.problems.extend(f"{_connections(connections)}: {said}" for said in comparison.problems)
            for name, answers in comparison.accepted.items():
                accepted[name] += answers
            served = statistics.median(cost.served for cost in comparison.costs[OURS])
            costs.append(
                Row(
                    "CPU of a POST, API and PostgreSQL",
                    _connections(connections),
                    served,
                    "µs",
                    goal=CPU_GOALS.get(connections),
                )
            )
    measured.add(costs)
    measured.problems.extend(_miscounted(subjects, accepted))
    return measured


def post_sqlite(plan: Plan) -> Measured:
    """`POST /payments` on SQLite."""
    ours, orm = (sqlite_database(plan.directory, name) for name in (OURS, ORM))
    subjects = [
        Subject(payment("--no-worker", DATABASE_URL=text_of(ours)), ours, OUTBOX),
        Subject(_fastapi(ORM, orm), orm, OUTBOX),
    ]
    with _probed(plan, subjects) as services:
        comparison = compare([_paid(service) for service in services], plan)
    problems = [*comparison.problems, *_miscounted(subjects, comparison.accepted)]
    return Measured(_rows(comparison, "POST /payments, SQLite", {}), problems)


def get_postgres(plan: Plan) -> Measured:
    """`GET /payments/{id}` on PostgreSQL."""
    measured = Measured([], [])
    with contextlib.ExitStack() as stack:
        contenders: list[Contender] = []
        for subject in on_postgres(plan, "get"):
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


def on_postgres(plan: Plan, what: str) -> list[Subject]:
    """Ours and the peers that do the same work, each on a database of its own."""
    ours, asyncpg, orm = (postgres_database(plan.postgres, f"{what}_{name}") for name in (OURS, ASYNCPG, ORM))
    migrated(ours)
    return [
        Subject(payment("--no-worker", DATABASE_URL=text_of(ours)), ours, OUTBOX),
        Subject(_fastapi(ASYNCPG, asyncpg), asyncpg, OUTBOX),
        Subject(_fastapi(ORM, orm.set(drivername="postgresql+psycopg")), orm, OUTBOX),
    ]


def _fastapi(name: str, database: URL) -> Server:
    return asgi_peer(name, f"bench.peers.{name}.app:app", DATABASE_URL=text_of(database))


def _thin(plan: Plan) -> Subject:
    database = postgres_database(plan.postgres, f"post_{THIN}")
    return Subject(_fastapi(THIN, database), database, ALONE)


@contextlib.contextmanager
def _probed(plan: Plan, subjects: Sequence[Subject]) -> Iterator[list[Running]]:
    """All services, started; each does what it is compared for."""
    with contextlib.ExitStack() as stack:
        services = [stack.enter_context(running(subject.server, plan.directory)) for subject in subjects]
        for service, subject in zip(services, subjects, strict=True):
            probe(service, has_bills="bills" in subject.rows_per_payment)
        yield services


def _miscounted(subjects: Sequence[Subject], accepted: Mapping[str, int]) -> Iterator[str]:
    """What is said of each service whose rows are not those of what it accepted."""
    for subject in subjects:
        name = subject.server.name
        payments = 1 + accepted[name]  # one by the probe
        if "bills" not in subject.rows_per_payment:
            payments += 1  # which it let be paid twice
        wanted = {table: rows * payments for table, rows in subject.rows_per_payment.items()}
        stored = count_rows(subject.database, list(wanted))
        if stored != wanted:
            yield f"{name}: wanted the rows {wanted}, found {stored}"


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
            p50_ms=statistics.median(each.p50_ms for each in results),
            p99_ms=statistics.median(each.p99_ms for each in results),
            cpu=_median(comparison.costs[name]),
            ours_by_it=None if name == OURS else ratios(rates[OURS], rates[name]),
            goal=goals.get(name),
        )
        for name, results in comparison.results.items()
    ]


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(*(statistics.median(getattr(cost, each.name) for cost in costs) for each in fields(Cost)))


def _connections(number: int) -> str:
    return "1 connection" if number == 1 else f"{number} connections"
