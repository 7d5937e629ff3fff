"""How soon is a page of the console there, with a million payments behind it? On SQLite and on PostgreSQL.

python -m bench.pages [--payments 1000000] [--requests 100] [--only sqlite|postgresql] [--json]

Fills a database with 300 days of payments, their events and what Order and User were told of them, then asks
for each page over one connection. The time is that of the whole answer.
"""

import argparse
import contextlib
import http.client
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlencode

from sqlalchemy import URL

from bench.compare import say
from bench.databases import (
    execute_all,
    migrated,
    postgres_database,
    postgres_server,
    sqlite_database,
    text_of,
)
from bench.processes import cpu_s
from bench.servers import Running, payment, running
from payment.core.units import SECOND_US
from payment.ledger.cursors import cursor_of
from payment.ledger.listing import Position, Selection

GOAL_MS = 50.0
WARM_UP = 5
DAY_US = 86_400 * SECOND_US
DAYS = 300
RARE_AMOUNT = 987_000
"""That of one payment, among the oldest."""

KINDS = ("sqlite", "postgresql")
PAYMENT_AS_JSON = """
'{{"id":' || id || ',"order_id":' || id || ',"user_id":' || user_id || ',"amount":' || amount
    || ',"amount_refunded":' || refunded || ',"status":"' || status || '","method":"' || method
    || '","created_us":' || at_us || ',"updated_us":' || at_us || ',"settled_us": null}}'
"""
FILL = (
    # what the other tables are made of; the newest payment is of now
    """
CREATE TEMPORARY TABLE given AS
WITH RECURSIVE numbers (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM numbers WHERE id < {rows}),
of_each AS (
    SELECT id, CASE WHEN id = {rows} / 20 THEN {rare} ELSE 20000 + id % 7 * 1000 END AS amount,
        2 + id % 50000 AS user_id,
        CAST({now_us} AS bigint) - ({rows} - id) * CAST({step_us} AS bigint) AS at_us,
        CASE id % 7 WHEN 0 THEN 'card' WHEN 1 THEN 'qris' WHEN 2 THEN 'transfer' ELSE 'cash' END AS method,
        CASE WHEN id % 50 = 0 THEN 'failed' WHEN id % 100 = 1 THEN 'refunded'
            WHEN id % 20000 = 2 THEN 'pending' ELSE 'paid' END AS status
    FROM numbers
)
SELECT id, amount, at_us, user_id, method, status,
    CASE status WHEN 'refunded' THEN amount ELSE 0 END AS refunded FROM of_each
""",
    """
INSERT INTO bills (order_id, total, paid, pending, refunded)
SELECT id, amount, CASE status WHEN 'paid' THEN amount ELSE 0 END,
    CASE status WHEN 'pending' THEN amount ELSE 0 END, 0
FROM given
""",
    """
INSERT INTO payments (id, order_id, user_id, amount, amount_refunded, status, method, created_us, updated_us)
SELECT id, id, user_id, amount, refunded, status, method, at_us, at_us FROM given
""",
    """
INSERT INTO refunds (payment_id, amount, refunded_before, created_us)
SELECT id, amount, 0, at_us FROM given WHERE refunded > 0
""",
    # some of the newest wait or are dead, some are dead since long ago
    """
INSERT INTO notifications (service, target_id, payment_id, state, told, attempts, next_attempt_us,
    last_outcome, last_error, created_us, due_since_us, settled_us)
SELECT service, CASE service WHEN 'order' THEN id ELSE user_id END, id, state,
    CASE state WHEN 'delivered' THEN CASE status WHEN 'refunded' THEN 'failed' ELSE status END END,
    1, at_us, CASE state WHEN 'delivered' THEN NULL ELSE 'rejected' END,
    CASE state WHEN 'delivered' THEN NULL ELSE '400: no such order' END,
    at_us, at_us, CASE state WHEN 'waiting' THEN NULL ELSE at_us END
FROM (
    SELECT given.*, service, CASE WHEN id % 2000 = 3 THEN 'dead' WHEN id > {rows} - 200 THEN 'waiting'
        ELSE 'delivered' END AS state
    FROM given CROSS JOIN (SELECT 'order' AS service UNION ALL SELECT 'user') AS services
) AS told
""",
    """
INSERT INTO events (types, payment_id, actor, created_us, data)
SELECT CASE status WHEN 'paid' THEN 'payment.created payment.paid' WHEN 'pending' THEN 'payment.created'
    ELSE 'payment.' || status END, id, 'kasir-1/00000000', at_us, {as_json} FROM given
""",
    "DROP TABLE given",
)


@dataclass(frozen=True, slots=True)
class Line:
    """What a page took, milliseconds of the clock and of the service's CPU, and its size on the wire."""

    database: str
    page: str
    median_ms: float
    p95_ms: float
    cpu_ms: float
    kilobytes: float


def fill(url: URL, payments: int) -> int:
    """Write so many payments; returns when the first of them was made, microseconds since the epoch."""
    is_postgres = url.get_backend_name() == "postgresql"
    as_json = PAYMENT_AS_JSON.format()
    now_us, step_us = time.time_ns() // 1000, DAYS * DAY_US // payments
    facts = {
        "rows": payments,
        "rare": RARE_AMOUNT,
        "now_us": now_us,
        "step_us": step_us,
        "as_json": f"CAST({as_json} AS JSON)" if is_postgres else as_json,
    }
    numbering = [f"SELECT setval('payments_id_seq', {payments})"] if is_postgres else []
    execute_all(url, [*(statement.format(**facts) for statement in FILL), *numbering])
    execute_all(url, ["VACUUM ANALYZE"] if is_postgres else ["ANALYZE"])
    return now_us - (payments - 1) * step_us


def pages(payments: int, first_us: int) -> Mapping[str, str]:
    """What is asked for: the pages by what they are."""
    tenth = payments // 10
    deep = Position(first_us + (tenth - 1) * (DAYS * DAY_US // payments), tenth)
    cursor = urlencode({"cursor": cursor_of(deep, Selection())})
    return {
        "today": "/console",
        "payments": "/console/payments",
        "payments, at nine tenths of them": f"/console/payments?{cursor}",
        "search for a number": f"/console/payments?q={payments // 2}",
        "search for a rare amount": f"/console/payments?q=Rp+{RARE_AMOUNT}",
        "a payment": f"/console/payments/{payments // 2}",
        "notifications": "/console/notifications",
        "closing": "/console/closing",
    }


def ask(service: Running, database: str, asked: Mapping[str, str], requests: int) -> Iterator[Line]:
    """Ask for each page so many times, over one connection.

    Raises:
        ValueError: an answer is not 200.
    """
    connection = http.client.HTTPConnection(service.host, service.port, timeout=30)
    with contextlib.closing(connection):
        for page, path in asked.items():
            took_ms, before_s, size = [], 0.0, 0
            for number in range(WARM_UP + requests):
                if number == WARM_UP:
                    before_s = cpu_s(service.pid)
                began_s = time.perf_counter()
                connection.request("GET", path)
                answer = connection.getresponse()
                size = len(answer.read())
                took_ms.append((time.perf_counter() - began_s) * 1000)
                if answer.status != http.HTTPStatus.OK:
                    raise ValueError(f"{path}: {answer.status}")
            took_ms = took_ms[WARM_UP:]
            cpu_ms = (cpu_s(service.pid) - before_s) / requests * 1000
            p95_ms = statistics.quantiles(took_ms, n=20)[-1]
            yield Line(database, page, statistics.median(took_ms), p95_ms, cpu_ms, size / 1000)


def measure(kind: str, payments: int, requests: int) -> list[Line]:
    """Fill a database of a kind, and ask a service over it."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        if kind == "sqlite":
            url = sqlite_database(directory, "pages")
        else:
            url = postgres_database(stack.enter_context(postgres_server()), "pages")
        began_s = time.perf_counter()
        first_us = fill(migrated(url), payments)
        say(f"{kind}: {payments:,} payments in {time.perf_counter() - began_s:.0f} s")
        service = stack.enter_context(running(payment("--no-worker", DATABASE_URL=text_of(url)), directory))
        lines = []
        for line in ask(service, kind, pages(payments, first_us), requests):
            say(f"{line}")
            lines.append(line)
    return lines


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description=__doc__)
    parser.add_argument("--payments", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=100, help="for each page")
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    lines: list[Line] = []
    loads = [os.getloadavg()[0]]
    for kind in [chosen.only] if chosen.only else KINDS:
        lines += measure(kind, chosen.payments, chosen.requests)
        loads.append(os.getloadavg()[0])
    if chosen.json:
        print(json.dumps({"lines": [asdict(line) for line in lines], "loads": loads}))
        return 0
    print(f"{'ms':44}{'median':>10}{'95 %':>10}{'CPU':>8}{'KB':>8}  goal < {GOAL_MS:.0f}")
    for line in lines:
        missed = "" if line.median_ms < GOAL_MS else "  MISSED"
        name = f"{line.database}: {line.page}"
        figures = f"{line.median_ms:10.1f}{line.p95_ms:10.1f}{line.cpu_ms:8.1f}{line.kilobytes:8.1f}"
        print(f"{name:44}{figures}{missed}")
    print(f"load {', '.join(f'{load:.1f}' for load in loads)} of {os.cpu_count()} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
