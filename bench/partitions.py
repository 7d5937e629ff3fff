"""Partitions: our schema and our queries with a million payments in one table, by month, by ranges of ids.

    python -m bench.partitions [--payments 1000000] [--rounds 15] [--paid 2000] [--json]

Says what PostgreSQL refuses of the schema, how many partitions each of our queries reads, what it takes of
CPU beside one table, and what a payment costs there. Prints Markdown.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, event

from bench.compare import say
from bench.databases import execute, migrated, postgres_database, postgres_server, text_of
from bench.history import fill
from bench.layouts import DAYS, PARTS, Layout, Refusal, twice
from bench.our_queries import Query, queries
from bench.postgres_seen import Postgres
from bench.processes import thread_cpu_us
from bench.servers import running, stub
from bench.sizes import service_on
from payment.ledger.event_log import Place
from payment.storage.opening import open_database
from payment.storage.postgres_engines import session_of

KEYS = {"one table": None, "by month": "created_us", "by id": "id"}
CONNECTIONS = 16
WAITING = 200
WARM_UP = 7
"""Rounds that do not count: psycopg prepares a statement when it comes the sixth time."""

TO_WAIT = """
UPDATE notifications SET state = 'waiting', settled_us = NULL, told = NULL, attempts = 0
WHERE payment_id > {after}
"""
TWICE = {"payments": "created_us - 40 * 86400000000", "idempotency_keys": "created_us - 40 * 86400000000"}


@dataclass(slots=True)
class Line:
    """A query: CPU of PostgreSQL, µs, and partitions read, by layout."""

    what: str
    cpu_us: dict[str, float] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Seen:
    """All that was measured, by layout."""

    conditions: str = ""
    refused: dict[str, list[Refusal]] = field(default_factory=dict)
    twice: dict[str, dict[str, bool]] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    cpu_us: dict[str, dict[str, float]] = field(default_factory=dict)
    """PostgreSQL's, a payment until it is told."""


def main() -> int:
    """The command; 0, or 2 when something that was seen does not count."""
    parser = argparse.ArgumentParser(prog="python -m bench.partitions", description=__doc__)
    parser.add_argument("--payments", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--paid", type=int, default=2000, help="payments made in each layout, three times")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    seen, problems = Seen(), list[str]()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        server = stack.enter_context(postgres_server())
        for setting in ("max_wal_size = '4GB'", "autovacuum = off"):  # neither is what differs here
            execute(server, f"ALTER SYSTEM SET {setting}")
        execute(server, "SELECT pg_reload_conf()")
        urls = {name: _filled(server, name, key, chosen.payments, seen) for name, key in KEYS.items()}
        _ask(urls, chosen.payments, chosen.rounds, seen)
        _pay(urls, directory, chosen.paid, seen, problems)
    seen.conditions = (
        f"{chosen.payments:,} payments in {DAYS} days, {PARTS} partitions; medians of {chosen.rounds} rounds "
        "in turn."
    )
    print(json.dumps(asdict(seen), indent=2) if chosen.json else "\n".join(_markdown(seen)))
    for problem in problems:
        print(f"INVALID: {problem}", file=sys.stderr)
    return 2 if problems else 0


def _filled(server: URL, name: str, key: str | None, payments: int, seen: Seen) -> URL:
    began_s = time.monotonic()
    url = migrated(postgres_database(server, name.replace(" ", "_")))
    with psycopg.connect(text_of(url), autocommit=True) as connection:
        layout = Layout(connection, payments, key) if key else None
        if layout:
            layout.cut()
            seen.refused[name] = layout.refused
        fill(url, payments, days=DAYS)
        execute(url, TO_WAIT.format(after=payments - WAITING))
        execute(url, "VACUUM ANALYZE notifications")
        if layout and key == "id":
            layout.close()
        seen.twice[name] = {table: twice(connection, table, changed) for table, changed in TWICE.items()}
    say(f"{name}: {payments:,} payments in {time.monotonic() - began_s:.0f} s")
    return url


def _ask(urls: dict[str, URL], payments: int, rounds: int, seen: Seen) -> None:
    """Run each query in each layout, in turn, and count the partitions that it reads."""
    with contextlib.ExitStack() as stack:
        subjects: dict[str, tuple[Connection, dict[str, Query]]] = {}
        for name, url in urls.items():
            database = open_database(url)
            stack.callback(database.close)
            connection = stack.enter_context(database.read())
            subjects[name] = connection, _queries(connection, payments)
        for what in subjects["one table"][1]:
            line = Line(what)
            cpu_us: dict[str, list[float]] = {name: [] for name in subjects}
            for round_number in range(rounds + WARM_UP):
                for name, (connection, of) in subjects.items():
                    backend = session_of(connection).info.backend_pid
                    connection.exec_driver_sql("SELECT")  # begins the transaction
                    before_us = thread_cpu_us(backend)
                    of[what](connection)
                    if round_number >= WARM_UP:
                        cpu_us[name].append(thread_cpu_us(backend) - before_us)
                    connection.rollback()
            for name, (connection, of) in subjects.items():
                line.cpu_us[name] = statistics.median(cpu_us[name])
                line.parts[name] = _parts_read(connection, of[what])
            seen.lines.append(line)
            say(f"{line}")


def _queries(connection: Connection, payments: int) -> dict[str, Query]:
    def one(query: str) -> Any:
        return connection.exec_driver_sql(query).one()

    newest_us, guest = one(
        f"SELECT created_us, user_id FROM payments WHERE id = {payments - payments // 5 + 3}"
    )
    newest_us = one("SELECT max(created_us) FROM payments")[0]
    key = one("SELECT key FROM idempotency_keys ORDER BY created_us LIMIT 1")[0]
    number, at_us = one(f"SELECT id, created_us FROM events WHERE id = {payments // 2}")
    return queries(payments, newest_us, key, guest, Place(2 * number, at_us))


def _parts_read(connection: Connection, query: Query) -> int:
    """The most partitions of a table that a statement of the query reads; 1 for a whole table."""
    statements: list[tuple[str, Any]] = []

    def keep(*arguments: Any) -> None:
        statements.append((arguments[2], arguments[3]))

    event.listen(connection, "before_cursor_execute", keep)
    query(connection)
    event.remove(connection, "before_cursor_execute", keep)
    connection.rollback()
    most = 0
    for statement, values in statements:
        explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
        ((plan,),) = connection.exec_driver_sql(explained, values).all()
        read: dict[str, set[str]] = {}
        for relation in _relations(plan[0]["Plan"]):
            table, _, number = relation.rpartition("_")
            read.setdefault(table if number.isdigit() else relation, set()).add(relation)
        most = max([most, *map(len, read.values())])
    connection.rollback()
    return most


def _relations(node: dict[str, Any]) -> Iterator[str]:
    """The tables that a plan's nodes have read, not those that it left out."""
    if "Relation Name" in node and node["Actual Loops"] and node["Node Type"] != "ModifyTable":
        yield node["Relation Name"]
    for each in node.get("Plans", ()):
        yield from _relations(each)


def _pay(urls: dict[str, URL], directory: Path, payments: int, seen: Seen, problems: list[str]) -> None:
    """Make payments in each layout, in turn, until they are told; what that takes of PostgreSQL's CPU."""
    with contextlib.ExitStack() as stack:
        neighbours = [stack.enter_context(running(stub(name), directory)) for name in ("order", "user")]
        benches = {}
        for name, url in urls.items():
            execute(
                url, "UPDATE notifications SET state = 'delivered', settled_us = 1 WHERE state = 'waiting'"
            )
            postgres = stack.enter_context(Postgres.of(url))
            benches[name] = stack.enter_context(
                service_on(url, directory, neighbours, postgres, 1_000_000, problems)
            )
        costs = {
            name: [bench.pay(payments, CONNECTIONS) for bench in [benches[name]] * 3] for name in benches
        }
    for name, of in costs.items():
        seen.cpu_us[name] = {
            "for the API": statistics.median(each.database_of_api for each in of),
            "for the worker": statistics.median(each.database_of_worker for each in of),
        }


def _markdown(seen: Seen) -> Iterator[str]:
    for name, refused in seen.refused.items():
        for refusal in refused:
            yield f"- {name}: `{refusal.statement}`: {refusal.error}"
        for table, is_there in seen.twice[name].items():
            outcome = "accepted" if is_there else "refused"
            yield f"- {name}: a row of `{table}` a second time, 40 days earlier: {outcome}"
    yield ""
    yield "| query, CPU of PostgreSQL | one table, µs | by month ÷ it | parts | by id ÷ it | parts |"
    yield "|---|---:|---:|---:|---:|---:|"
    for line in seen.lines:
        one_us = line.cpu_us["one table"]
        others = (
            f"{line.cpu_us[name] / one_us:.1f} | {line.parts[name]}" for name in KEYS if name in seen.refused
        )
        yield f"| {line.what} | {one_us:,.0f} | {' | '.join(others)} |"
    yield ""
    yield "| PostgreSQL's CPU, µs a payment | for the API | for the worker |"
    yield "|---|---:|---:|"
    for name, cpu_us in seen.cpu_us.items():
        yield f"| {name} | {' | '.join(f'{each:,.0f}' for each in cpu_us.values())} |"
    yield ""
    yield seen.conditions


if __name__ == "__main__":
    sys.exit(main())
