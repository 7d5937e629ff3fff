"""Machine instructions that our service takes for payments, counted by Valgrind's callgrind.

A count has no clock in it: it is the same on a machine that is busy. What is counted is the API's process,
which on SQLite is all that works; the kernel's part is not in it.
"""

import contextlib
import functools
import itertools
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.answers import parse_answer
from bench.load import PostPayments
from bench.servers import HOST, Running, Server, running
from bench.statement_log import StatementLog

WARM_UP = 32
"""Payments before any is counted: the interpreter adapts its bytecode, every cache is filled."""

PIECE, PIECES = 32, 3
"""Payments of a piece, and pieces: what happens now and then (a checkpoint) falls into one of them."""

PAYMENT_OF = PostPayments(0, users=1000)
START_WITHIN_S = 300.0
ANSWER_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 120.0
ROUNDS = 200
"""Of the calibration."""

CALIBRATION = Path(__file__).with_name("calibration.py")
TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)
VALGRIND = ("valgrind", "--tool=callgrind", "--vgdb-poll=1000000000", "--quiet")


class CountError(Exception):
    """Nothing could be counted."""


@dataclass(frozen=True, slots=True)
class Counter:
    """A process under callgrind."""

    pid: int
    out: Path

    def count(self, work: Callable[[], None]) -> int:
        """The instructions of the process while `work` runs."""
        self.tell("zero")
        work()
        before = set(self.out.parent.glob(f"{self.out.name}*"))
        self.tell("dump")
        (dumped,) = set(self.out.parent.glob(f"{self.out.name}*")) - before
        return total(dumped)

    def tell(self, *command: str) -> None:
        """Give callgrind a command."""
        said = subprocess.run(
            ["vgdb", f"--pid={self.pid}", *command],
            env={**os.environ, "HOST": HOST},  # noqa: TID251  # handed on; the pipe's name has the service's HOST
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if said.returncode:
            raise CountError(f"vgdb {' '.join(command)}: {said.stderr.strip()}")


def total(dumped: Path) -> int:
    """The instructions in a file of callgrind's."""
    found = TOTALS.search(dumped.read_text())
    if found is None:
        raise CountError(f"{dumped} has no total")
    return int(found[1])


def check_tools() -> None:
    """Raise CountError if Valgrind is missing."""
    if not shutil.which("valgrind") or not shutil.which("vgdb"):
        raise CountError("valgrind is missing: apt-get install valgrind (it counts the instructions)")


@dataclass(frozen=True, slots=True)
class Taken:
    """What a payment took: the median of the pieces."""

    instructions: float
    statements: float
    """0 without a log of them."""


def of_payments(
    service: Server, directory: Path, counts: Sequence[int], log: StatementLog | None = None
) -> dict[int, Taken]:
    """What a payment takes, by the number of connections that pay at once."""
    with running(under_callgrind(service, directory), directory, within_s=START_WITHIN_S) as api:
        counter = Counter(api.pid, directory / "instructions")
        counter.tell("instrumentation", "on")
        orders = iter(range(1, 10**9))
        seen: dict[int, Taken] = {}
        for connections in counts:
            with paying(api, connections) as payers:
                payers.pay(itertools.islice(orders, WARM_UP))
                pieces: list[tuple[int, int]] = []
                for _ in range(PIECES):
                    position = log.position() if log else 0
                    work = functools.partial(payers.pay, itertools.islice(orders, PIECE))
                    pieces.append((counter.count(work), log.since(position) if log else 0))
                seen[connections] = Taken(
                    *(statistics.median(each) / PIECE for each in zip(*pieces, strict=True))
                )
        return seen


def under_callgrind(service: Server, directory: Path) -> Server:
    """The same service, counted from when it is told."""
    out = directory / "instructions"
    return Server(
        service.name,
        (*VALGRIND, "--instr-atstart=no", f"--callgrind-out-file={out}", *service.argv),
        {**service.environment, "PYTHONHASHSEED": "0"},
        logs_its_port=True,
    )


def of_calibration(directory: Path) -> float:
    """Instructions of a round of the calibration: those of 3 N rounds less those of N, ÷ 2 N."""
    few, many = (_calibrate(directory / f"calibration-{rounds}", rounds) for rounds in (ROUNDS, 3 * ROUNDS))
    return (many - few) / (2 * ROUNDS)


def _calibrate(out: Path, rounds: int) -> int:
    subprocess.run(
        [*VALGRIND, f"--callgrind-out-file={out}", sys.executable, "-I", "-S", str(CALIBRATION), str(rounds)],
        env={**os.environ, "PYTHONHASHSEED": "0"},  # noqa: TID251  # handed on, not read
        check=True,
        timeout=COMMAND_TIMEOUT_S,
    )
    return total(out)


@contextlib.contextmanager
def _stopped(pid: int) -> Iterator[None]:
    """Hold a process while the block lasts, so that it then sees at once all that came meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Payers:
    """Connections that pay all at once, wait for their answers, and pay again."""

    api: Running
    sockets: Sequence[socket.socket]

    def pay(self, orders: Iterable[int]) -> None:
        """A payment for each of the orders; CountError for an answer that is not a 201."""
        orders = iter(orders)
        is_one = len(self.sockets) == 1
        while at_once := list(itertools.islice(orders, len(self.sockets))):
            with contextlib.nullcontext() if is_one else _stopped(self.api.pid):
                for payer, order in zip(self.sockets, at_once, strict=False):
                    payer.sendall(PAYMENT_OF(order))
            for payer in self.sockets[: len(at_once)]:
                _take(payer)


def _take(payer: socket.socket) -> None:
    received = bytearray()
    while (answer := parse_answer(received)) is None:
        part = payer.recv(65536)
        if not part:
            raise CountError("the service closed a connection")
        received += part
    if answer.status != PAYMENT_OF.expected_status:
        raise CountError(f"a payment was answered {received.decode(errors='replace')}")


@contextlib.contextmanager
def paying(api: Running, connections: int) -> Iterator[Payers]:
    """So many open connections."""
    with contextlib.ExitStack() as stack:
        yield Payers(
            api,
            [
                stack.enter_context(socket.create_connection((api.host, api.port), ANSWER_TIMEOUT_S))
                for _ in range(connections)
            ],
        )
