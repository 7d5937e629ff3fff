"""How long `payment copy` takes, and how much memory: from PostgreSQL to SQLite, and from there back.

    python -m bench.copying [--payments 1000000] [--json]

Payments are those of `bench.history`, told to everybody, each with a key. Each copy is a command of its own.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.compare import say
from bench.databases import count_rows, migrated, postgres_database, postgres_server, sqlite_database, text_of
from bench.history import fill
from bench.servers import ROOT

GOAL_S = 300
DAYS = 365
PROGRAM = ROOT / ".venv" / "bin" / "payment"
TABLES = ("payments", "bills", "notifications", "events", "idempotency_keys")


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy took: seconds, those of its own CPU, and MB at the highest."""

    to: str
    took_s: float
    cpu_s: float
    highest_mb: float


def copy(name: str, source: str, target: str) -> Copied:
    """Run the command to its end."""
    began_at = time.perf_counter()
    copying = subprocess.Popen([PROGRAM, "copy", "--from", source, "--to", target])
    _, status, used = os.wait4(copying.pid, 0)
    copying.returncode = os.waitstatus_to_exitcode(status)
    if copying.returncode:
        raise RuntimeError(f"payment copy ended with {copying.returncode}")
    took_s = time.perf_counter() - began_at
    return Copied(name, took_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def main() -> int:
    """The command; 0, or 2 when something that was seen does not count."""
    parser = argparse.ArgumentParser(prog="python -m bench.copying", description=__doc__)
    parser.add_argument("--payments", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        server = stack.enter_context(postgres_server())
        first = migrated(postgres_database(server, "first"))
        fill(first, chosen.payments, days=DAYS, keys_kept_days=DAYS)
        file, last = sqlite_database(directory, "copied"), postgres_database(server, "last")
        say(f"{chosen.payments:,} payments: {count_rows(first, TABLES)}")
        copies = [
            copy("SQLite", text_of(first), text_of(file)),
            copy("PostgreSQL", text_of(file), text_of(last)),
        ]
        problems = [] if count_rows(first, TABLES) == count_rows(last, TABLES) else ["rows are missing"]
    if chosen.json:
        print(json.dumps([asdict(each) for each in copies]))
    else:
        print(f"{chosen.payments:,} payments to      seconds   its CPU, s   MB at the highest")
        for each in copies:
            missed = "" if each.took_s <= GOAL_S else f"  MISSED: {GOAL_S} s"
            print(f"{each.to:24}{each.took_s:9.0f}{each.cpu_s:13.0f}{each.highest_mb:20.0f}{missed}")
    for problem in problems:
        print(f"INVALID: {problem}", file=sys.stderr)
    return 2 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
