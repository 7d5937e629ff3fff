"""Sizes to plan by: a payment's CPU, log, disk and connections, and what more API processes bring.

    python -m bench.sizes [--payments 20000] [--rounds 3] [--seconds 3] [--filled 0] [--json]

API (AUTH=keys, an Idempotency-Key on each payment), worker, stubs and PostgreSQL are processes of their own.
Each run waits until every payment is told, so its CPU is that of all it caused. Prints Markdown.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from sqlalchemy import URL

from bench import growth
from bench.compare import ORDERS_PER_RUN, problems_of, say
from bench.databases import (
    count_rows,
    count_waiting,
    fsync_ms,
    migrated,
    postgres_database,
    postgres_server,
    sqlite_database,
    text_of,
    version,
)
from bench.history import fill
from bench.keyed import KeyedPayments, new_api_key
from bench.load import run_load
from bench.postgres_seen import Postgres
from bench.processes import cpu_s, memory_mb
from bench.servers import Running, payment, resident_mb, running, stub, worker
from bench.sizes_report import Cost, Seen, Size, markdown

CONNECTIONS = (1, 16, 64)
WARM_UP = 500
TOLD_WITHIN_S = 300.0
LOOK_EVERY_S = 0.2
US = 1_000_000
NEWCOMERS = 1_000_000
IDLE_S = 20.0
STATISTICS_S = 1.5
"""So long a backend may keep what it counted to itself."""

SMALLEST = 2
"""Bytes a payment from which on a table or an index is named."""

PAGE_IMAGES = "SELECT wal_fpi FROM pg_stat_wal"


@dataclass(slots=True)
class Bench:
    """The processes under test, and how far the orders are counted."""

    api: Running
    worker: Running
    api_key: str
    guests: int
    is_all_told: Callable[[], bool]
    postgres: Postgres | None
    problems: list[str]
    run: int = 0

    def pay(self, payments: int, connections: int) -> Cost:
        """Make so many payments, wait until all are told; returns what one cost."""
        self.run += 1
        before = self._used()
        requests = KeyedPayments(self.api_key, self.run * ORDERS_PER_RUN, self.guests)
        load = run_load(
            *(self.api.host, self.api.port, requests),
            duration_s=TOLD_WITHIN_S,
            connections=connections,
            requests_max=payments,
        )
        self.problems += [f"{connections} connections: {said}" for said in problems_of(load)]
        _wait_for(self.is_all_told)
        cost = _cost_of(before, self._used(), payments)
        say(f"{connections} connections: {load.per_second:,.0f}/s, {cost}")
        return cost

    def idle(self, seconds: float) -> Cost:
        """Let nothing come for so long; returns what a second of it costs."""
        before = self._used()
        time.sleep(seconds)
        return _cost_of(before, self._used(), seconds)

    def _used(self) -> list[float]:
        ours = [cpu_s(self.api.pid), cpu_s(self.worker.pid)]
        if self.postgres is None:
            return [*ours, 0.0, 0.0, 0.0, 0.0]
        lsn = self.postgres.number("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        return [*ours, *self.postgres.cpu_s(self.api, self.worker), lsn]


def _cost_of(before: list[float], after: list[float], number: float) -> Cost:
    used = ((now - then) / number for now, then in zip(after, before, strict=True))
    api, telling, of_api, of_worker, rest, wal_bytes = used
    return Cost(api * US, telling * US, of_api * US, of_worker * US, rest * US, wal_bytes)


def main() -> int:
    """The command; 0, or 2 when something that was seen does not count."""
    parser = argparse.ArgumentParser(prog="python -m bench.sizes", description=__doc__)
    parser.add_argument("--payments", type=int, default=20_000, help="on each database, all runs together")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a run for throughput")
    parser.add_argument("--filled", type=int, default=0, help="payments that PostgreSQL holds before")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    seen = Seen()
    problems: list[str] = []
    a_run = chosen.payments // (len(CONNECTIONS) * chosen.rounds)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        server = stack.enter_context(postgres_server())
        neighbours = [stack.enter_context(running(stub(name), directory)) for name in ("order", "user")]
        url = migrated(postgres_database(server, "sizes"))
        postgres = stack.enter_context(Postgres.of(url))
        if chosen.filled:
            fill(url, chosen.filled, days=365)
        postgres.run("ALTER SYSTEM SET max_wal_size = '1GB'", "SELECT pg_reload_conf()")
        guests = chosen.filled // 20 or NEWCOMERS
        with service_on(url, directory, neighbours, postgres, guests, problems) as bench:
            seen.memory_mb["API, idle"] = resident_mb(bench.api)
            seen.idle = bench.idle(IDLE_S)
            seen.postgres = _costs(bench, a_run, chosen.rounds)
            seen.log = _log(bench, postgres, a_run)
            _look_at_processes(bench, postgres, seen)
        seen.sizes = _sizes(url, postgres, is_packed=not chosen.filled)
        sqlite = migrated(sqlite_database(directory, "sizes"))
        with service_on(sqlite, directory, neighbours, None, guests, problems) as bench:
            seen.sqlite = _costs(bench, a_run, chosen.rounds)
        rows = count_rows(sqlite, ["payments"])["payments"]
        seen.sqlite_bytes = (directory / "sizes.db").stat().st_size / rows
        seen.throughput, wrong = growth.measure(url, directory, postgres, chosen.rounds, chosen.seconds)
        problems += wrong
        seen.conditions = (
            f"{chosen.payments:,} payments in {chosen.rounds} rounds after {chosen.filled:,}, "
            f"{os.cpu_count()} cores, Python {platform.python_version()}, PostgreSQL {version(url)}, "
            f"an fsync takes {fsync_ms(postgres.data):.2f} ms where its data is."
        )
    print(json.dumps(asdict(seen), indent=2) if chosen.json else "\n".join(markdown(seen)))
    for problem in problems:
        print(f"INVALID: {problem}", file=sys.stderr)
    return 2 if problems else 0


@contextlib.contextmanager
def service_on(
    url: URL,
    directory: Path,
    neighbours: Sequence[Running],
    postgres: Postgres | None,
    guests: int,
    problems: list[str],
) -> Iterator[Bench]:
    """API and worker on a database, warmed up."""
    order, user = neighbours
    settings = {
        "DATABASE_URL": text_of(url),
        "ORDER_SERVICE_URL": order.url,
        "USER_SERVICE_URL": user.url,
        "AUTH": "keys",
    }
    api_key = new_api_key(url)

    def is_all_told() -> bool:
        if postgres is None:
            return not any(count_waiting(url, service.name) for service in neighbours)
        return postgres.number("SELECT count(*) FROM notifications WHERE state = 'waiting'") == 0

    with (
        running(payment("--no-worker", **settings), directory) as api,
        running(worker(**settings), directory) as telling,
    ):
        bench = Bench(api, telling, api_key, guests, is_all_told, postgres, problems)
        bench.pay(WARM_UP, 16)
        yield bench


def _costs(bench: Bench, payments: int, rounds: int) -> dict[int, Cost]:
    """What a payment costs at each number of connections: the medians of the rounds, which take turns."""
    seen: dict[int, list[Cost]] = {connections: [] for connections in CONNECTIONS}
    for _ in range(rounds):
        for connections, of in seen.items():
            of.append(bench.pay(payments, connections))
        if bench.postgres is not None:
            bench.postgres.run("VACUUM")
    return {
        connections: Cost(
            *(statistics.median(getattr(each, field.name) for each in of) for field in fields(Cost))
        )
        for connections, of in seen.items()
    }


def _log(bench: Bench, postgres: Postgres, payments: int) -> dict[str, tuple[float, float]]:
    """WAL bytes and images of whole pages a payment, at 16 connections."""
    seen = {}
    for how, *before in (
        ("no whole pages", "ALTER SYSTEM SET full_page_writes = off", "SELECT pg_reload_conf()"),
        (
            f"the first {payments:,} after a checkpoint",
            *("ALTER SYSTEM RESET full_page_writes", "SELECT pg_reload_conf()", "CHECKPOINT"),
        ),
        (f"the {payments:,} after these",),
    ):
        postgres.run(*before)
        images = postgres.number(PAGE_IMAGES)
        cost = bench.pay(payments, 16)
        time.sleep(STATISTICS_S)
        seen[how] = cost.wal_bytes, (postgres.number(PAGE_IMAGES) - images) / payments
    return seen


def _look_at_processes(bench: Bench, postgres: Postgres, seen: Seen) -> None:
    """The connections and the memory of each process, after all these payments."""
    of_api, of_worker = postgres.backends(bench.api, bench.worker)
    seen.connections = {"API, after the runs": len(of_api), "worker, after the runs": len(of_worker)}
    seen.memory_mb |= {
        "API, after the runs": resident_mb(bench.api),
        "worker, after the runs": resident_mb(bench.worker),
        "a backend of the API, on average (PSS)": statistics.mean(map(memory_mb, of_api)),
        "a backend of the worker, on average (PSS)": statistics.mean(map(memory_mb, of_worker)),
    }


def _sizes(url: URL, postgres: Postgres, *, is_packed: bool) -> list[Size]:
    postgres.run("VACUUM")
    vacuumed = postgres.sizes()
    if is_packed:
        postgres.run("VACUUM FULL")
    packed = {name: size for _, name, size in postgres.sizes()} if is_packed else {}
    payments = count_rows(url, ["payments"])["payments"]
    return [
        Size(table, None if name == table else name, size / payments, packed.get(name, 0) / payments)
        for table, name, size in vacuumed
        if size / payments >= SMALLEST
    ]


def _wait_for(fact: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + TOLD_WITHIN_S
    while not fact():
        if time.monotonic() > give_up_at:
            raise SystemExit(f"INVALID: not all was told within {TOLD_WITHIN_S:g} s")
        time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    sys.exit(main())
