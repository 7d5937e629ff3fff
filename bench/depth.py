"""Does anything get slower as payments pile up? 10,000 of them beside a million, on PostgreSQL.

python -m bench.depth [--large 1000000] [--small 10000] [--rounds 5] [--seconds 2] [--no-csv] [--json]

Fills two databases with two years of a restaurant's payments, then asks and pays in turn. Also reads all
payments of the large one as CSV, and says what that took of memory; how large its tables are; and how long a
VACUUM takes that reads all of them, and one after the payments that were made meanwhile.
"""

import argparse
import contextlib
import http.client
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg
from sqlalchemy import URL

from bench.compare import pay_orders, problems_of, ratios, say
from bench.databases import execute, migrated, postgres_database, postgres_server, text_of
from bench.load import Gets, PostPayments, run_load
from bench.servers import Running, call, payment, resident_mb, running
from payment.ledger.cursors import cursor_of
from payment.ledger.listing import Position, Selection

GOAL = 1.2
MEMORY_GOAL_MB = 50
WALK_IN = 1
"""The guest of every tenth payment; each of the others has about eighteen, in both."""

RETIRED = 2**40
"""A walk-in id that was on every tenth of the oldest payments, and is not used any more."""

SIZES = """
SELECT relname, pg_table_size(oid) / 1e6 AS rows_mb, pg_indexes_size(oid) / 1e6 AS indexes_mb FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
ORDER BY pg_total_relation_size(oid) DESC LIMIT 5
"""

# those of keys go on refusing
INDEXES = """
SELECT indexname, indexdef FROM pg_indexes
JOIN pg_class ON relname = indexname JOIN pg_index ON indexrelid = oid
WHERE schemaname = 'public' AND NOT indisunique
"""
LAST_OF_PAGE = "SELECT created_us, id FROM payments ORDER BY created_us DESC, id DESC OFFSET %s LIMIT 1"

YEARS_US = 2 * 365 * 86_400_000_000
FILL = """
WITH days AS (SELECT (extract(epoch FROM now()) * 1000000)::bigint - {span} AS start_us),
given AS (
    SELECT n AS id, 20000 + n % 7 * 1000 AS amount, start_us + n * ({span} / {rows}) AS at_us,
        CASE WHEN n % 10 = 0 THEN {walk_in} WHEN n % 10 = 1 AND n < {rows} / 10 THEN {retired}
            ELSE 2 + n * 7919 % ({rows} / 20) END AS user_id,
        (ARRAY['cash', 'cash', 'cash', 'card', 'qris', 'qris', 'transfer'])[1 + n % 7] AS method,
        CASE WHEN n % 50 = 0 THEN 'failed' WHEN n % 100 = 1 THEN 'refunded' WHEN n % 1000 = 2 THEN 'pending'
            ELSE 'paid' END AS status
    FROM generate_series(1::bigint, {rows}) AS n, days
), of_bills AS (
    INSERT INTO bills (order_id, total, paid, pending, refunded)
    SELECT id, amount, CASE WHEN status = 'paid' THEN amount ELSE 0 END,
        CASE WHEN status = 'pending' THEN amount ELSE 0 END, 0 FROM given
), of_payments AS (
    INSERT INTO payments
        (id, order_id, user_id, amount, amount_refunded, status, method, created_us, updated_us)
    SELECT id, id, user_id, amount, CASE WHEN status = 'refunded' THEN amount ELSE 0 END, status, method,
        at_us, at_us FROM given
), of_refunds AS (
    INSERT INTO refunds (payment_id, amount, refunded_before, created_us)
    SELECT id, amount, 0, at_us FROM given WHERE status = 'refunded'
)
INSERT INTO notifications (service, target_id, payment_id, state, told, attempts, next_attempt_us, created_us,
    due_since_us, settled_us)
SELECT service, CASE service WHEN 'order' THEN id ELSE user_id END, id, 'delivered',
    CASE status WHEN 'refunded' THEN 'failed' ELSE status END, 1, at_us, at_us, at_us, at_us
FROM given, unnest(ARRAY['order', 'user']) AS service
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """A service over one of the databases, and how many payments are in it."""

    service: Running
    payments: int
    deep: str
    """The path of a page at nine tenths of its list."""


@dataclass(frozen=True, slots=True)
class Line:
    """What one request took in both, milliseconds (the medians of the rounds), and their ratio."""

    what: str
    small_ms: float
    large_ms: float
    ratio: float


def filled(postgres: URL, payments: int) -> URL:
    """Make a database that holds so many payments, told to everybody."""
    url = migrated(postgres_database(postgres, f"depth_{payments}"))
    with psycopg.connect(text_of(url), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # no look-up of each foreign key
        connection.execute("SET maintenance_work_mem = '512MB'")
        indexes = connection.execute(INDEXES).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        connection.execute(FILL.format(rows=payments, span=YEARS_US, walk_in=WALK_IN, retired=RETIRED))
        for _, definition in indexes:
            connection.execute(definition)
        connection.execute("SELECT setval('payments_id_seq', %s)", [payments])
    return url


def vacuum_s(url: URL) -> float:
    """VACUUM ANALYZE everything; returns how long it took, seconds."""
    began_at = time.perf_counter()
    execute(url, "VACUUM ANALYZE")
    return time.perf_counter() - began_at


def sizes_of(url: URL) -> list[tuple[str, float, float]]:
    """Return the largest tables: name, MB of rows, MB of indexes."""
    with psycopg.connect(text_of(url)) as connection:
        return connection.execute(SIZES).fetchall()


def deep_page(url: URL, payments: int) -> str:
    """Return the path of the page at nine tenths of the list of all."""
    with psycopg.connect(text_of(url)) as connection:
        found = connection.execute(LAST_OF_PAGE, [payments * 9 // 10]).fetchone()
    assert found is not None
    return f"/payments?limit=50&cursor={cursor_of(Position(*found), Selection())}"


def questions(subject: Subject) -> dict[str, Callable[[int], Gets | PostPayments]]:
    """What is asked: the requests of a run, given its number."""
    some = range(1, subject.payments, subject.payments // 1000)

    def get(*paths: str) -> Callable[[int], Gets]:
        return lambda _run: Gets(paths)

    newest = call(subject.service, "GET", "/payments?limit=1")[1]["payments"]
    day = str(newest[0]["created_at"])[:10]  # type: ignore[index]
    return {
        "POST /payments": pay_orders,
        "GET /payments/{id}": get(*(f"/payments/{each}" for each in some)),
        "GET /bills/{order_id}": get(*(f"/bills/{each}" for each in some)),
        "first page": get("/payments?limit=50"),
        "a page at nine tenths": get(subject.deep),
        "first page of a method": get("/payments?limit=50&method=card"),
        "first page of a status": get("/payments?limit=50&status=refunded"),
        "first page of an amount": get("/payments?limit=50&amount=23000"),
        "first page of a guest": get("/payments?limit=50&user_id=301"),
        "first page of the walk-in guest": get(f"/payments?limit=50&user_id={WALK_IN}"),
        "first page of a walk-in id of once": get(f"/payments?limit=50&user_id={RETIRED}"),
        "notifications of a payment": get(*(f"/payments/{each}/notifications" for each in some)),
        "first page of notifications": get("/notifications?limit=50"),
        "notifications that wait, of one service": get("/notifications?limit=50&state=waiting&service=user"),
        "report of a day": get(f"/reports/daily?date={day}"),
        "report of a day, hour by hour": get(f"/reports/hourly?date={day}"),
        "metrics": get("/metrics"),
    }


def compare_sizes(
    small: Subject, large: Subject, rounds: int, seconds: float
) -> tuple[list[Line], list[str]]:
    """Ask both in turn, one request at a time (POST: 16), round by round."""
    lines, problems = [], []
    asked = [questions(small), questions(large)]
    for number, what in enumerate(asked[0]):
        took_ms: list[list[float]] = [[], []]
        for round_number in range(rounds + 1):
            for of, subject, question in zip(took_ms, (small, large), asked, strict=True):
                run = 1 + number * (rounds + 1) + round_number
                is_post = what.startswith("POST")
                result = run_load(
                    subject.service.host,
                    subject.service.port,
                    question[what](run),
                    duration_s=seconds if round_number else seconds / 4,
                    connections=16 if is_post else 1,
                )
                problems += [f"{what}, {subject.payments:,}: {said}" for said in problems_of(result)]
                if round_number:
                    of.append(result.p50_ms)
        ratio = ratios(took_ms[1], took_ms[0]).median
        lines.append(Line(what, statistics.median(took_ms[0]), statistics.median(took_ms[1]), ratio))
        say(f"{what}: {lines[-1]}")
    return lines, problems


def read_csv(service: Running, payments: int) -> tuple[float, float]:
    """Read everything as CSV; returns seconds, and MB above idle at the highest."""
    idle_mb = highest_mb = resident_mb(service)
    done = threading.Event()

    def watch() -> None:
        nonlocal highest_mb
        while not done.wait(0.1):
            highest_mb = max(highest_mb, resident_mb(service))

    watching = threading.Thread(target=watch)
    watching.start()
    started_at = time.perf_counter()
    connection = http.client.HTTPConnection(service.host, service.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", "/payments", headers={"Accept": "text/csv"})
        answer = connection.getresponse()
        rows = sum(chunk.count(b"\n") for chunk in iter(lambda: answer.read(1 << 16), b""))
    took_s = time.perf_counter() - started_at
    done.set()
    watching.join()
    if rows <= payments:  # and a line of names
        raise ValueError(f"{rows:,} lines of {payments:,}")
    return took_s, highest_mb - idle_mb


def main() -> int:
    """The command; 0, or 2 when something that was seen does not count."""
    parser = argparse.ArgumentParser(prog="python -m bench.depth", description=__doc__)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a run")
    parser.add_argument("--no-csv", action="store_true", help="leave out the CSV of all payments")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        postgres = stack.enter_context(postgres_server())
        subjects = []
        for payments in (chosen.small, chosen.large):
            began_at = time.perf_counter()
            url = filled(postgres, payments)
            say(f"{payments:,} payments in {time.perf_counter() - began_at:.0f} s")
            vacuums_s = [vacuum_s(url)]
            sizes = sizes_of(url)
            service = stack.enter_context(
                running(payment("--no-worker", DATABASE_URL=text_of(url)), directory)
            )
            subjects.append(Subject(service, payments, deep_page(url, payments)))
        csv_s, csv_mb = (0.0, 0.0) if chosen.no_csv else read_csv(subjects[1].service, chosen.large)
        lines, problems = compare_sizes(subjects[0], subjects[1], chosen.rounds, chosen.seconds)
        vacuums_s.append(vacuum_s(url))
    if chosen.json:
        measured = {"lines": [asdict(line) for line in lines], "sizes": sizes, "vacuums_s": vacuums_s}
        print(json.dumps(measured | {"csv_s": csv_s, "csv_mb": csv_mb}))
    else:
        print(f"{'median, ms':40}{chosen.small:>12,}{chosen.large:>12,}  large ÷ small, goal ≤ {GOAL}")
        for line in lines:
            missed = "" if line.ratio <= GOAL else "  MISSED"
            print(f"{line.what:40}{line.small_ms:12.2f}{line.large_ms:12.2f}{line.ratio:8.2f}{missed}")
        if not chosen.no_csv:
            print(f"CSV of all: {csv_s:.1f} s, {csv_mb:.1f} MB more than idle (goal < {MEMORY_GOAL_MB})")
        for name, rows_mb, indexes_mb in sizes:
            print(f"{name:40}{rows_mb:12,.0f} MB of rows{indexes_mb:12,.0f} MB of indexes")
        print("VACUUM ANALYZE: {:.1f} s, then {:.1f} s after the payments above".format(*vacuums_s))
    for problem in problems:
        print(f"INVALID: {problem}", file=sys.stderr)
    return 2 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
