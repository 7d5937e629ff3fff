"""The whole benchmark: `make bench`, or python -m bench [--rounds 5] [--seconds 4] [--only NAME …].

Prints one table. A run of everything also writes docs/benchmarks.md and docs/benchmarks.svg. A part that
fails or does not count is named there, and the exit code is 2; the others stand.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench import alone, delivery, footprint, hanging, report, steady, throughput, walk_in
from bench.compare import Plan
from bench.databases import fsync_ms, postgres_server, version
from bench.report import Measured
from bench.servers import ROOT, end_all_on_sigterm

MEASUREMENTS = {
    "post-postgres": throughput.post_postgres,
    "steady": steady.measure,
    "alone": alone.measure,
    "post-sqlite": throughput.post_sqlite,
    "get": throughput.get_postgres,
    "delivery": delivery.measure,
    "hanging": hanging.measure,
    "walk-in": walk_in.measure,
    "footprint": footprint.measure,
}
PAGE = ROOT / "docs" / "benchmarks.md"
CHART = ROOT / "docs" / "benchmarks.svg"


def main() -> int:
    """The command; 0, or 2 when something that was seen does not count."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a run")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument(
        "--counts",
        type=int,
        nargs="+",
        default=[1, 16, 64],
        help="the numbers of connections of post-postgres",
    )
    parser.add_argument("--warmup", type=float, default=2.0, help="seconds, before the rounds")
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, help="repeatable; writes no page")
    parser.add_argument("--dir", type=Path, help="where SQLite's files go (the disk that is measured)")
    parser.add_argument("--json", action="store_true", help="the rows as JSON in place of the table")
    chosen = parser.parse_args()
    end_all_on_sigterm()

    everything = Measured([], [])
    with tempfile.TemporaryDirectory(prefix="bench-", dir=chosen.dir) as name, postgres_server() as postgres:
        directory = Path(name)
        plan = Plan(
            chosen.rounds,
            chosen.seconds,
            chosen.connections,
            tuple(chosen.counts),
            chosen.warmup,
            directory,
            postgres,
        )
        conditions = (
            f"{plan.connections} connections, {plan.rounds} rounds of {plan.seconds:g} s, "
            f"{os.cpu_count()} cores, Python {platform.python_version()}, PostgreSQL {version(postgres)} "
            f"(synchronous_commit and fsync on), SQLite with WAL and synchronous=FULL, "
            f"an fsync takes {fsync_ms(directory):.2f} ms"
        )
        for measurement in chosen.only or MEASUREMENTS:
            try:
                measured = MEASUREMENTS[measurement](plan)
            except Exception as error:  # noqa: BLE001  # whatever it is, the other parts still count
                everything.problems.append(f"{measurement}: {type(error).__name__}: {error}")
                continue
            everything.add(measured.rows)
            everything.problems.extend(f"{measurement}: {said}" for said in measured.problems)
    conditions += f", the load driver took at most {everything.driver:.2f} of a core."
    if chosen.json:
        print(json.dumps([asdict(row) for row in everything.rows], indent=2))
    else:
        print(f"{conditions}\n\n{report.table(everything.rows)}")
    for problem in everything.problems:
        print(f"INVALID: {problem}", file=sys.stderr)
    if not chosen.only:
        before = PAGE.read_text() if PAGE.exists() else ""
        PAGE.write_text(report.page(everything, conditions, CHART.name, before))
        CHART.write_text(report.chart(everything.rows))
    return 2 if everything.problems else 0


if __name__ == "__main__":
    sys.exit(main())
