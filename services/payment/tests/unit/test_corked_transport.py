"""What is written is sent together; a reader who takes nothing for too long is given up."""

import asyncio
import socket
from asyncio import Transport
from typing import Any

import uvloop

from payment.web.corked_transport import CorkedTransport

TIMEOUT_S = 1.5
LARGE = b"x" * 4_000_000
"""More than the kernel takes for a reader who does not read."""


class Writer(asyncio.Protocol):
    """Writes a large answer to whoever connects, and closes or not."""

    def __init__(self, *, closes: bool) -> None:
        self._closes = closes
        self.gone = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        """Write all of it at once."""
        connection: Transport = transport
        corked = CorkedTransport(connection, asyncio.get_running_loop(), write_timeout_s=TIMEOUT_S)
        corked.write(b"head")
        corked.write(LARGE)
        if self._closes:
            corked.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note when that was."""
        del exc
        self.gone.set_result(asyncio.get_running_loop().time())


async def gone_after_s(*, closes: bool, reads_for_s: float = 0.0) -> float:
    """Return how long a connection lasts whose reader reads a little every now and then, and then no more."""
    loop = asyncio.get_running_loop()
    writers: list[Writer] = []

    def made() -> Writer:
        writers.append(Writer(closes=closes))
        return writers[0]

    server = await loop.create_server(made, "127.0.0.1", 0)
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.settimeout(0)
        await loop.sock_connect(reader, server.sockets[0].getsockname())
        began_s = loop.time()
        while loop.time() - began_s < reads_for_s:
            for _ in range(20):
                await loop.sock_recv(reader, 65_536)
            await asyncio.sleep(TIMEOUT_S / 4)
        async with asyncio.timeout(20):
            ended_s: float = await writers[0].gone
    server.close()
    return ended_s - began_s


def test_a_reader_who_takes_nothing_is_given_up_also_if_the_connection_is_closed_already() -> None:
    for closes in (False, True):
        lasted_s = uvloop.run(gone_after_s(closes=closes))
        assert lasted_s > TIMEOUT_S * 0.9, closes


def test_a_reader_who_takes_something_now_and_then_is_not() -> None:
    assert uvloop.run(gone_after_s(closes=False, reads_for_s=2 * TIMEOUT_S)) > 2.5 * TIMEOUT_S
