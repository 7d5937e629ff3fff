"""A lean closed-loop HTTP load driver.

Each connection sends a request, waits for the whole answer, and sends the next one. The driver runs
in a process of its own, so that it never holds the interpreter lock of whoever calls it. Only
answers with the expected status count as throughput and latency; everything else is reported.
"""

import asyncio
import gc
import importlib.util
import math
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Protocol, cast

from bench.answers import Answer, BadAnswerError, parse_answer

ANSWER_TIMEOUT_S = 30.0
"""How long after the end of the run an answer may still come before it counts as missing."""

AMOUNT = 20_000


@dataclass(frozen=True, slots=True)
class PostPayments:
    """Request number n is a payment of order `first_order_id + n` by one of `users` guests."""

    first_order_id: int = 1
    users: int = 1
    idempotency_keys: bool = False
    expected_status: int = 201

    def __call__(self, n: int) -> bytes:
        """The bytes of request number n."""
        order_id = self.first_order_id + n
        user_id = 1 + n % self.users
        body = f'{{"order_id": {order_id}, "user_id": {user_id}, "amount": {AMOUNT}}}'
        key = f"Idempotency-Key: bench-{order_id}\r\n" if self.idempotency_keys else ""
        return (
            "POST /payments HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"{key}Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


@dataclass(frozen=True, slots=True)
class Gets:
    """Request number n reads one of the `paths`, in turn."""

    paths: tuple[str, ...]
    expected_status: int = 200

    def __call__(self, n: int) -> bytes:
        """The bytes of request number n."""
        return f"GET {self.paths[n % len(self.paths)]} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


class Requests(Protocol):
    """The requests of a run, by their number."""

    @property
    def expected_status(self) -> int:
        """The status of a good answer."""
        ...

    def __call__(self, n: int) -> bytes:
        """The bytes of request number n."""
        ...


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What one run measured. Times and rate are those of the expected answers alone."""

    requests: int
    """Answers with the expected status."""
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    statuses: dict[int, int]
    """How many answers of each status, expected or not."""
    failures: dict[str, int]
    """Requests without a usable answer, by reason."""
    expected_status: int
    elapsed_s: float
    """From the first request to the last answer, and no less than the run was to last if time ended it."""
    driver_cpu: float
    """Part of a core the driver used; near 1.0 it measured itself, not the server."""

    @property
    def valid(self) -> bool:
        """Whether every request was answered with the expected status, and at least one was."""
        return not self.failures and set(self.statuses) == {self.expected_status}


def run_load(
    host: str,
    port: int,
    make_request: Requests,
    *,
    duration_s: float,
    connections: int = 16,
    requests_max: int | None = None,
) -> LoadResult:
    """Load `host:port` from a new process, and wait for the result.

    The run ends after `duration_s` seconds, or once `requests_max` requests were sent.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as executor:
        return executor.submit(
            _drive, host, port, make_request, duration_s, connections, requests_max
        ).result()


def _drive(
    host: str,
    port: int,
    make_request: Requests,
    duration_s: float,
    connections: int,
    requests_max: int | None,
) -> LoadResult:
    """Run the load in this process."""
    gc.disable()
    run = _Run(make_request, requests_max or sys.maxsize)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_load(run, host, port, duration_s, connections))
    return run.result(make_request.expected_status)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A uvloop where it is installed, the standard loop elsewhere."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415  # only where it is installed

    return uvloop.new_event_loop()


class _Run:
    """What the connections of one run share: the request counter, the clock and the tallies."""

    def __init__(self, make_request: Callable[[int], bytes], requests_max: int) -> None:
        self.failures: Counter[str] = Counter()
        self._make_request = make_request
        self._requests_max = requests_max
        self._sent = 0
        self._latencies_s: dict[int, list[float]] = {}
        self._started_at = self._last_answer_at = self._deadline = 0.0
        self._cpu_at_start = 0.0

    def start(self, duration_s: float) -> None:
        """Start the clock."""
        self._started_at = self._last_answer_at = time.perf_counter()
        self._deadline = self._started_at + duration_s
        self._cpu_at_start = time.process_time()

    def is_over(self) -> bool:
        """Whether no further request may be sent."""
        return self._sent >= self._requests_max or time.perf_counter() >= self._deadline

    def next_request(self) -> bytes:
        """The bytes of the next request; no two are the same request."""
        n = self._sent
        self._sent += 1
        return self._make_request(n)

    def answered(self, status: int, sent_at: float) -> bool:
        """Record an answer that is complete now; whether its connection shall go on."""
        now = self._last_answer_at = time.perf_counter()
        self._latencies_s.setdefault(status, []).append(now - sent_at)
        return self._sent < self._requests_max and now < self._deadline

    def result(self, expected_status: int) -> LoadResult:
        """The tallies as a result."""
        latencies_s = sorted(self._latencies_s.get(expected_status, []))
        ended_at = self._last_answer_at
        if self._sent < self._requests_max:
            ended_at = max(ended_at, self._deadline)
        elapsed_s = ended_at - self._started_at
        return LoadResult(
            requests=len(latencies_s),
            per_second=len(latencies_s) / elapsed_s if elapsed_s else 0.0,
            p50_ms=percentile(latencies_s, 50) * 1000,
            p95_ms=percentile(latencies_s, 95) * 1000,
            p99_ms=percentile(latencies_s, 99) * 1000,
            statuses={status: len(times) for status, times in sorted(self._latencies_s.items())},
            failures=dict(self.failures),
            expected_status=expected_status,
            elapsed_s=elapsed_s,
            driver_cpu=(time.process_time() - self._cpu_at_start) / elapsed_s if elapsed_s else 0.0,
        )


async def _load(run: _Run, host: str, port: int, duration_s: float, connections: int) -> None:
    """Connect everything first, then let all connections loop until the time is up."""
    opened = await asyncio.gather(*(_connect(run, host, port) for _ in range(connections)))
    run.start(duration_s)
    clients = [asyncio.create_task(_client(run, host, port, connection)) for connection in opened]
    done, unanswered = await asyncio.wait(clients, timeout=duration_s + ANSWER_TIMEOUT_S)
    for client in unanswered:
        run.failures[f"no answer within {ANSWER_TIMEOUT_S:g} s"] += 1
        client.cancel()
    for client in done:
        client.result()


async def _connect(run: _Run, host: str, port: int) -> "_Connection":
    """Open one connection."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: _Connection(run), host, port)
    return connection


async def _client(run: _Run, host: str, port: int, connection: "_Connection") -> None:
    """Keep one connection busy, opening a new one whenever the server closes it."""
    connection.send_next()
    await connection.closed
    while not run.is_over():
        try:
            connection = await _connect(run, host, port)
        except OSError:
            run.failures["cannot connect"] += 1
            return
        connection.send_next()
        await connection.closed


class _Connection(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, run: _Run) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._run = run
        self._buffer = bytearray()
        self._waiting = False
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport; the first request is sent when the run starts."""
        self._transport = cast("asyncio.Transport", transport)

    def send_next(self) -> None:
        """Send the next request."""
        request = self._run.next_request()
        self._waiting = True
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take a piece of the answer; when it is whole, record it and go on."""
        self._buffer += data
        try:
            answer = parse_answer(self._buffer)
        except BadAnswerError as error:
            self._fail(str(error))
            return
        if answer is not None:
            self._finish(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Account for the request in flight: its answer may end where the connection does."""
        if self._waiting:
            try:
                answer = parse_answer(self._buffer, at_end=True)
            except BadAnswerError as error:
                self._fail(str(error))
            else:
                if answer is None:
                    how = "closed" if exc is None else f"lost ({type(exc).__name__})"
                    self._fail(f"connection {how} before the answer")
                else:
                    self._finish(answer)
        if not self.closed.done():
            self.closed.set_result(None)

    def _finish(self, answer: Answer) -> None:
        self._waiting = False
        self._buffer.clear()
        go_on = self._run.answered(answer.status, self._sent_at)
        if go_on and answer.keep_alive:
            self.send_next()
        else:
            self._transport.close()

    def _fail(self, reason: str) -> None:
        self._waiting = False
        self._run.failures[reason] += 1
        self._transport.abort()


def percentile(ascending: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of values that are sorted already; 0.0 of none."""
    if not ascending:
        return 0.0
    return ascending[max(0, math.ceil(len(ascending) * percent / 100) - 1)]
