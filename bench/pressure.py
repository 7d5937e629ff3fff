"""Clients that press on a service: more requests than it can serve, and connections that hold it up.

Each function here runs in a process of its own.
"""

import asyncio
import contextlib
import gc
import resource
import select
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from threading import Event
from typing import cast

import uvloop

from bench.answers import parse_answer
from bench.load import PostPayments, percentile

TICK_S = 0.005
ANSWER_TIMEOUT_S = 30.0
CONNECTED_AT_ONCE = 100
LITTLE_BYTES = 4096
"""The room that a reader who never reads has."""

BODY = b'{"order_id": 1, "user_id": 1, "amount": 20000}'


@dataclass(slots=True)
class Flood:
    """What a flood of payments got."""

    accepted_ms: list[float] = field(default_factory=list)
    refused: int = 0
    """503 with Retry-After."""
    other: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    short: int = 0
    """Not sent in time, as every connection still waited for an answer."""
    seconds: float = 0.0
    cpu: float = 0.0
    """Part of a core that sending them took."""

    @property
    def p99_ms(self) -> float:
        """Of those that were accepted."""
        return percentile(sorted(self.accepted_ms), 99)


def flood(host: str, port: int, first_order_id: int, rate: float, connections: int, seconds: float) -> Flood:
    """Send payments at this rate, whatever the answers: on connections that have theirs."""
    _allow_files()
    gc.disable()
    requests = PostPayments(first_order_id, users=1000)
    return uvloop.run(_flood(host, port, requests, rate, connections, seconds))


async def _flood(
    host: str, port: int, requests: PostPayments, rate: float, connections: int, seconds: float
) -> Flood:
    seen = Flood()
    idle: list[_Wire] = []
    loop = asyncio.get_running_loop()
    waiting = 0

    async def connect() -> None:
        await loop.create_connection(lambda: _Wire(seen, idle), host, port)

    for _ in range(0, connections, CONNECTED_AT_ONCE):
        await asyncio.gather(*(connect() for _ in range(CONNECTED_AT_ONCE)))
    began_s, cpu_s = time.monotonic(), time.process_time()
    due = 0
    while (passed_s := time.monotonic() - began_s) < seconds:
        due_now = int(passed_s * rate)
        for _ in range(due_now - due):
            while idle and not idle[-1].is_open:
                idle.pop()
                await connect()
            if not idle:
                seen.short += 1
                continue
            idle.pop().send(requests(seen.sent))
            seen.sent += 1
        due = due_now
        await asyncio.sleep(TICK_S)
    seen.seconds = time.monotonic() - began_s
    seen.cpu = (time.process_time() - cpu_s) / seen.seconds
    give_up_s = time.monotonic() + ANSWER_TIMEOUT_S
    while (waiting := seen.sent - len(seen.accepted_ms) - seen.refused - seen.other.total()) > 0:
        if time.monotonic() > give_up_s:
            seen.other["no answer"] += waiting
            break
        await asyncio.sleep(0.1)
    return seen


class _Wire(asyncio.Protocol):
    """A connection of a flood: it is idle, or waits for an answer."""

    def __init__(self, seen: Flood, idle: "list[_Wire]") -> None:
        self._seen = seen
        self._idle = idle
        self._received = bytearray()
        self._sent_s: float | None = None
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be idle."""
        self._transport = cast("asyncio.Transport", transport)
        self._idle.insert(0, self)

    def send(self, request: bytes) -> None:
        """Send a request."""
        self._sent_s = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer."""
        self._received += data
        answer = parse_answer(self._received)
        if answer is None or self._sent_s is None:
            return
        if answer.status == 201:
            self._seen.accepted_ms.append((time.perf_counter() - self._sent_s) * 1000)
        elif answer.status == 503 and b"\r\nretry-after:" in self._received.lower():
            self._seen.refused += 1
        else:
            self._seen.other[str(answer.status)] += 1
        self._sent_s = None
        self._received.clear()
        self._idle.insert(0, self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note a request that is left without an answer."""
        self.is_open = False
        if self._sent_s is not None:
            self._seen.other[f"connection lost ({type(exc).__name__})"] += 1
            self._idle.insert(0, self)  # to be made anew


def _allow_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextlib.contextmanager
def held_up(kind: str, host: str, port: int) -> Iterator[Callable[[], dict[str, int]]]:
    """Have clients of this kind hold connections while the block lasts; yields what says how they fared."""
    context = get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(max_workers=1, mp_context=context) as executor:
        standing, ending = manager.Event(), manager.Event()
        fared = executor.submit(_hold, kind, host, port, standing, ending)
        while not standing.wait(0.1):
            if fared.done():
                fared.result()

        def end() -> dict[str, int]:
            ending.set()
            return dict(fared.result())

        try:
            yield end
        finally:
            ending.set()


def _hold(kind: str, host: str, port: int, standing: Event, ending: Event) -> Counter[str]:
    _allow_files()
    return uvloop.run(_hold_all(*KINDS[kind], host, port, standing, ending))


async def _hold_all(
    client: Callable[[str, int, Counter[str]], Awaitable[None]],
    clients: int,
    host: str,
    port: int,
    standing: Event,
    ending: Event,
) -> Counter[str]:
    fared: Counter[str] = Counter()

    async def again_and_again() -> None:
        while True:
            with contextlib.suppress(OSError):
                fared["connections"] += 1
                await client(host, port, fared)
            await asyncio.sleep(1)  # what Retry-After says

    tasks = []
    for _ in range(clients):
        tasks.append(asyncio.create_task(again_and_again()))
        await asyncio.sleep(1 / clients)
    await asyncio.sleep(2)
    standing.set()
    while not ending.is_set():  # noqa: ASYNC110  # another process sets it
        await asyncio.sleep(0.2)
    for task in tasks:
        task.cancel()
    return fared


async def _dribble(host: str, port: int, fared: Counter[str]) -> None:
    """Send a payment a byte in half a second."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        head = b"POST /payments HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(BODY))
        for at in range(len(BODY) - 1):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    said = await reader.read(13)
                    fared[said[9:12].decode() or "closed"] += 1
                    return
            writer.write(BODY[at : at + 1])
    finally:
        writer.close()


async def _be_idle(host: str, port: int, fared: Counter[str]) -> None:
    """Send nothing."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        said = await reader.read(13)
        fared[said[9:12].decode() or "closed"] += 1
    finally:
        writer.close()


async def _never_read(host: str, port: int, fared: Counter[str]) -> None:
    """Ask for a CSV, look at the status and read nothing."""
    loop = asyncio.get_running_loop()
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE_BYTES)
        wire.setblocking(False)  # noqa: FBT003  # the standard library's signature
        await loop.sock_connect(wire, (host, port))
        ask = b"GET /payments HTTP/1.1\r\nHost: localhost\r\nAccept: text/csv\r\n\r\n"
        await loop.sock_sendall(wire, ask)
        ends = select.poll()
        ends.register(wire, select.POLLRDHUP)  # errors and ends, which are told unasked; no data
        status = b""
        while True:
            with contextlib.suppress(BlockingIOError):
                if not status:
                    status = wire.recv(13, socket.MSG_PEEK)[9:12]
                    fared[status.decode()] += 1
            if status == b"503":
                return
            if ends.poll(0):
                fared["ended"] += 1
                return
            await asyncio.sleep(0.2)


KINDS: dict[str, tuple[Callable[[str, int, Counter[str]], Awaitable[None]], int]] = {
    "200 dribbling bodies": (_dribble, 200),
    "2,000 idle connections": (_be_idle, 2000),
    "a reader who never reads": (_never_read, 1),
    "200 readers who never read": (_never_read, 200),
}
