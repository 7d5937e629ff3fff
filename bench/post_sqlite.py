"""`POST /payments` on SQLite: ours beside the peers, in interleaved rounds.

python -m bench.post_sqlite [--rounds 5] [--seconds 5] [--connections 16] [--only NAME] [--json]
"""

import argparse
import contextlib
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.compare import Comparison, Plan, ProbeError, as_json, compare, summary, table
from bench.servers import Server, ServerError, asgi_peer, payment, running

ROWS_PER_PAYMENT = {"bills": 1, "payments": 1, "notifications": 2}
"""What one acknowledged payment leaves behind, in every service."""

SERVICES = ("payment", "fastapi-orm")
FSYNC_SAMPLES = 200


def services(directory: Path) -> list[tuple[Server, Path]]:
    """Ours first, then the peers, each with a SQLite file of its own in `directory`."""
    ours = directory / "payment.db"
    fastapi_orm = directory / "fastapi-orm.db"
    return [
        (payment("--no-worker", DATABASE_URL=f"sqlite:///{ours}"), ours),
        (
            asgi_peer(
                "fastapi-orm",
                "bench.peers.fastapi_orm.app:app",
                DATABASE_URL=f"sqlite:///{fastapi_orm}",
            ),
            fastapi_orm,
        ),
    ]


def measure(plan: Plan, only: Sequence[str], directory: Path) -> Comparison:
    """Run the comparison on fresh files in `directory`."""
    chosen = [(server, file) for server, file in services(directory) if server.name in only]
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(running(server, directory)) for server, _ in chosen]
        comparison = compare(started, plan)
    for server, file in chosen:
        wanted = {
            name: rows * comparison.acknowledged[server.name] for name, rows in ROWS_PER_PAYMENT.items()
        }
        try:
            stored = count_rows(file)
        except sqlite3.Error as error:
            comparison.problems.append(f"{server.name}: cannot count its rows: {error}")
            continue
        if stored != wanted:
            comparison.problems.append(f"{server.name}: wanted the rows {wanted}, found {stored}")
    return comparison


def count_rows(file: Path) -> dict[str, int]:
    """How many rows each of the tables holds."""
    with contextlib.closing(sqlite3.connect(file)) as database:
        return {
            name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ROWS_PER_PAYMENT
        }


def fsync_ms(directory: Path) -> float:
    """How long this disk takes to make 4 KiB durable: the floor under every commit."""
    page = bytes(4096)
    with tempfile.TemporaryFile(dir=directory) as file:
        started_at = time.perf_counter()
        for _ in range(FSYNC_SAMPLES):
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        return (time.perf_counter() - started_at) / FSYNC_SAMPLES * 1000


def main() -> int:
    """The command; 0, or 2 when a run does not count."""
    parser = argparse.ArgumentParser(prog="python -m bench.post_sqlite", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a run")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--warmup", type=float, default=2.0, help="seconds, before the rounds")
    parser.add_argument("--only", action="append", choices=SERVICES, help="repeatable")
    parser.add_argument("--dir", type=Path, help="where the files go (the disk that is measured)")
    parser.add_argument("--json", action="store_true", help="everything measured, as JSON")
    chosen = parser.parse_args()
    plan = Plan(chosen.rounds, chosen.seconds, chosen.connections, chosen.warmup)

    with tempfile.TemporaryDirectory(prefix="bench-", dir=chosen.dir) as name:
        directory = Path(name)
        try:
            comparison = measure(plan, chosen.only or SERVICES, directory)
        except (ServerError, ProbeError) as error:
            print(error, file=sys.stderr)
            return 2
        disk_ms = fsync_ms(directory)
    if chosen.json:
        print(as_json(comparison))
    else:
        print(
            f"POST /payments on SQLite (WAL, synchronous=FULL), {plan.connections} connections,\n"
            f"medians of {plan.rounds} rounds of {plan.seconds:g} s; an fsync: {disk_ms:.2f} ms"
        )
        print(table(summary(comparison)))
    for problem in comparison.problems:
        print(f"INVALID: {problem}", file=sys.stderr)
    return 2 if comparison.problems else 0


if __name__ == "__main__":
    sys.exit(main())
