"""An open loop: requests come when guests come, whether or not others have their answers.

A closed loop sends less while a server is slow, so it hides how long those would have waited who came just
then ("coordinated omission"). Here each request has a time at which it is due, and its latency counts from
that time, even if no connection was free to send it. The gaps between them are those of guests who know
nothing of each other.
"""

import asyncio
import contextlib
import gc
import multiprocessing
import random
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import cast

from bench.answers import BadAnswerError, parse_answer
from bench.load import ANSWER_TIMEOUT_S, LoadResult, Requests, new_event_loop, percentile

LOOK_EVERY_S = 0.01


def run_open_loop(
    host: str, port: int, make_request: Requests, *, per_second: float, duration_s: float, connections: int
) -> LoadResult:
    """Send so many requests a second on average, from a new process; wait for the result.

    Those that are due while every connection waits for an answer are sent as soon as one has it.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as executor:
        return executor.submit(_drive, host, port, make_request, per_second, duration_s, connections).result()


def due_times(per_second: float, duration_s: float) -> Iterator[float]:
    """When each request is due, in seconds from the start: the same ones for the same arguments."""
    gaps = random.Random(1)
    at = gaps.expovariate(per_second)
    while at < duration_s:
        yield at
        at += gaps.expovariate(per_second)


def _drive(
    host: str, port: int, make_request: Requests, per_second: float, duration_s: float, connections: int
) -> LoadResult:
    gc.disable()
    run = _Run(make_request, deque(due_times(per_second, duration_s)))
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(run.load(host, port, connections))


@dataclass(slots=True)
class _Run:
    """The requests that are still to come, and what became of the others."""

    make_request: Requests
    due_s: deque[float]
    idle: "list[_Payer]" = field(default_factory=list)
    latencies_s: dict[int, list[float]] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    in_flight: int = 0
    began_s: float = 0.0

    async def load(self, host: str, port: int, connections: int) -> LoadResult:
        """Run it all."""
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            await loop.create_connection(lambda: _Payer(self), host, port)
        cpu_s, self.began_s = time.process_time(), time.perf_counter()
        while self.due_s and (self.idle or self.in_flight):
            self.send_due()
            wait_s = self.due_s[0] - self.passed_s() if self.due_s else 0.0
            await asyncio.sleep(wait_s if wait_s > 0 else LOOK_EVERY_S)
        if self.due_s:
            self.failures["no connection is left"] += len(self.due_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                while self.in_flight:  # noqa: ASYNC110  # the connections count it down
                    await asyncio.sleep(LOOK_EVERY_S)
        if self.in_flight:
            self.failures[f"no answer within {ANSWER_TIMEOUT_S:g} s"] += self.in_flight
        return self._result(time.process_time() - cpu_s)

    def passed_s(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.began_s

    def send_due(self) -> None:
        """Send what is due, as far as connections are free."""
        while self.idle and self.due_s and self.due_s[0] <= self.passed_s():
            self.idle.pop().send(self.make_request(self.sent), self.due_s.popleft())
            self.sent += 1
            self.in_flight += 1

    def _result(self, cpu_s: float) -> LoadResult:
        expected = self.make_request.expected_status
        elapsed_s = self.passed_s()
        latencies_s = sorted(self.latencies_s.get(expected, []))
        return LoadResult(
            requests=len(latencies_s),
            per_second=len(latencies_s) / elapsed_s,
            p50_ms=percentile(latencies_s, 50) * 1000,
            p95_ms=percentile(latencies_s, 95) * 1000,
            p99_ms=percentile(latencies_s, 99) * 1000,
            statuses={status: len(times) for status, times in sorted(self.latencies_s.items())},
            failures=dict(self.failures),
            expected_status=expected,
            elapsed_s=elapsed_s,
            driver_cpu=cpu_s / elapsed_s,
        )


class _Payer(asyncio.Protocol):
    """A connection: it is idle, or waits for an answer."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._received = bytearray()
        self._due_s: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be idle."""
        self._transport = cast("asyncio.Transport", transport)
        self._run.idle.append(self)

    def send(self, request: bytes, due_s: float) -> None:
        """Send a request that was due at this time."""
        self._due_s = due_s
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer; when it is whole, be idle again."""
        self._received += data
        try:
            answer = parse_answer(self._received)
        except BadAnswerError as error:
            self._fail(str(error))
            self._transport.abort()
            return
        if answer is None or self._due_s is None:
            return
        run = self._run
        run.latencies_s.setdefault(answer.status, []).append(run.passed_s() - self._due_s)
        run.in_flight -= 1
        self._due_s = None
        self._received.clear()
        if answer.keep_alive:
            run.idle.append(self)
            run.send_due()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note a request that is left without an answer; this connection is not used again."""
        if self in self._run.idle:
            self._run.idle.remove(self)
        if self._due_s is not None:
            self._fail("connection closed" if exc is None else f"connection lost ({type(exc).__name__})")

    def _fail(self, reason: str) -> None:
        self._run.in_flight -= 1
        self._run.failures[reason] += 1
        self._due_s = None
