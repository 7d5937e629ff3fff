"""Did a payment become dearer? Its instructions beside the accepted ones: `make bench-check`, about a minute.

    python -m bench.check [--accept] [--only sqlite|postgresql] [--json]

A figure is instructions a payment of the API's process ÷ those of a round of `calibration.py` in the same
interpreter: there is no clock in it, and builds of one Python agree. `bench/instructions.json` has the
accepted ones of each Python, and how many statements a payment is for PostgreSQL. Exit code 0: as accepted;
1: some differ; 2: nothing was counted, or nothing was ever accepted for this Python.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.databases import migrated, postgres_database, postgres_server, sqlite_database, text_of
from bench.instructions import CountError, Taken, check_tools, of_calibration, of_payments
from bench.servers import ServerError, end_all_on_sigterm, payment
from bench.statement_log import StatementLog

TOLERANCES = {"sqlite": 0.02, "postgresql": 0.05, "statements": 0.0}
"""Of what each figure begins with. The loop of a process that waits for another turns more often on a busy
machine: on PostgreSQL it does."""

COUNTS = (1, 16)
ACCEPTED = Path(__file__).with_name("instructions.json")
PYTHON = "{}.{}".format(*sys.version_info)
DATABASES = ("sqlite", "postgresql")

IF_MEANT = """\
If that is meant: make bench-check ACCEPT=1, and commit bench/instructions.json with the change that brings
it; its message says why. The same on the other Pythons of that file. If it is not meant: what is new on the
way of a POST?"""


@dataclass(frozen=True, slots=True)
class Figure:
    """What a payment takes, what was accepted, and by which part they may differ."""

    name: str
    seen: float
    accepted: float
    tolerance: float

    @property
    def change(self) -> float:
        """By which part it takes more; negative for less."""
        return self.seen / self.accepted - 1

    @property
    def stands(self) -> bool:
        """Whether it is as accepted."""
        return abs(self.change) <= self.tolerance

    def __str__(self) -> str:
        verdict = "as accepted" if self.stands else "DEARER" if self.change > 0 else "CHEAPER"
        figures = f"{self.seen:>9.2f}{self.accepted:>10.2f}{self.change:>+9.1%}"
        return f"{self.name:<28}{figures}{self.tolerance:>6.0%}  {verdict}"


def judge(seen: Mapping[str, float], accepted: Mapping[str, float]) -> list[Figure]:
    """Each figure beside the accepted one; KeyError for one that was never accepted."""
    return [Figure(name, of, accepted[name], TOLERANCES[name.partition(",")[0]]) for name, of in seen.items()]


def main() -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.check", description=__doc__)
    parser.add_argument("--accept", action="store_true", help="write what is seen as what is accepted")
    parser.add_argument("--only", choices=DATABASES)
    parser.add_argument("--json", action="store_true", help="what is seen as JSON, judged by nobody")
    chosen = parser.parse_args()
    end_all_on_sigterm()
    try:
        check_tools()
        seen = measure([chosen.only] if chosen.only else DATABASES)
    except (CountError, ServerError) as error:
        print(f"NOTHING COUNTED: {error}", file=sys.stderr)
        return 2
    if chosen.json:
        print(json.dumps(seen, indent=2))
        return 0
    if chosen.accept:
        accept(seen, ACCEPTED, PYTHON)
        print(f"accepted for Python {PYTHON}: {seen}")
        return 0
    return say(seen, json.loads(ACCEPTED.read_text()).get(PYTHON, {}))


def measure(databases: Sequence[str]) -> dict[str, float]:
    """The figures, two processes at a time."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ThreadPoolExecutor(2) as workers:
        directory = Path(name)
        counting = {database: workers.submit(_of, database, directory / database) for database in databases}
        round_of = of_calibration(directory)
        figures: dict[str, float] = {}
        for database, counted in counting.items():
            for connections, taken in counted.result().items():
                figures[f"{database}, {connections} at a time"] = round(taken.instructions / round_of, 3)
                if taken.statements:
                    figures[f"statements, {connections} at a time"] = round(taken.statements, 3)
        return figures


def _of(database: str, directory: Path) -> dict[int, Taken]:
    directory.mkdir()
    if database == "sqlite":
        url = migrated(sqlite_database(directory, database))
        return of_payments(payment("--no-worker", DATABASE_URL=text_of(url)), directory, COUNTS)
    with postgres_server() as server:
        url = migrated(postgres_database(server, "instructions"))
        log = StatementLog.of(url)
        return of_payments(payment("--no-worker", DATABASE_URL=text_of(url)), directory, COUNTS, log)


def accept(seen: Mapping[str, float], file: Path, python: str) -> None:
    """Write the figures of a Python into the file; the others of the file stay."""
    accepted = json.loads(file.read_text()) if file.exists() else {}
    accepted[python] = {**accepted.get(python, {}), **seen}
    file.write_text(json.dumps(accepted, indent=2, sort_keys=True) + "\n")


def say(seen: Mapping[str, float], accepted: Mapping[str, float]) -> int:
    """Print the verdict; the exit code."""
    if missing := sorted(seen.keys() - accepted.keys()):
        print(f"Python {PYTHON} has no accepted figure of: {'; '.join(missing)}\n{IF_MEANT}", file=sys.stderr)
        return 2
    figures = judge(seen, accepted)
    print(f"{'POST, Python ' + PYTHON:<28}{'seen':>9}{'accepted':>10}{'change':>9}{'±':>6}")
    for figure in figures:
        print(figure)
    if all(figure.stands for figure in figures):
        return 0
    print(f"\nA payment takes other than what was accepted.\n{IF_MEANT}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
