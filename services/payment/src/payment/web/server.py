"""uvicorn's server: listens last, ends in order."""

import asyncio
import errno
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from uvicorn.server import HANDLED_SIGNALS

from payment.web.listener import PortInUse
from payment.web.protocol import EndingState

FINISH_PAYMENTS_S = 3.0
"""How long an ending server has for the payments that have come; those that still wait are answered 503."""


class Server(uvicorn.Server):
    """uvicorn's server, that listens last and ends in order.

    Args:
        config: uvicorn's.
        listener: the socket, bound.
        listening: called once callers are welcome.
        ending: called at the first sign of the end, from the signal's handler.
        last_requests: called on the event loop soon after that: nobody may wait for what is to come.
        too_late: called FINISH_PAYMENTS_S later, before uvicorn gives up what has no answer yet.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        listener: socket.socket,
        listening: Callable[[], None],
        ending: Callable[[], None],
        last_requests: Callable[[], None],
        too_late: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self.server_state = self._state = EndingState()
        self._listener = listener
        self._listening = listening
        self._ending = ending
        self._last_requests = last_requests
        self._too_late = too_late
        self._dated_s = 0

    async def on_tick(self, counter: int) -> bool:
        """Look at the clock for `Date` when a second begins; uvicorn does so in every tenth tick."""
        del counter
        was_s, self._dated_s = self._dated_s, int(time.time())
        return await super().on_tick(0 if self._dated_s != was_s else 1)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Catch the signals as uvicorn does, but do not raise them again: an orderly end exits 0."""
        before = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the end: SIGTERM or Ctrl-C."""
        is_first = not self.should_exit
        super().handle_exit(sig, frame)
        if is_first:  # another one may interrupt this, even where it holds a lock
            self._ending()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does: the application, then the listener.

        Raises:
            PortInUse: another process, which had bound the address too, was faster.
        """
        host, port = self._listener.getsockname()[:2]
        await super().startup(sockets)
        if self._listener.fileno() == -1:  # uvloop closes a socket that it cannot listen on, and keeps silent
            await self.lifespan.shutdown()
            raise PortInUse(f"{host}:{port}: {os.strerror(errno.EADDRINUSE)}")
        self._listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End as uvicorn does, but let no payment wait for that, and take what is in the listener's queue.

        The kernel resets the connections that are still there when the listener is closed.
        """
        asyncio.get_running_loop().call_later(FINISH_PAYMENTS_S, self._too_late)
        self._last_requests()
        self._state.is_ending = True
        for _ in range(self.config.backlog):
            if not select.select([self._listener], [], [], 0)[0]:
                break
            await asyncio.sleep(0)  # one is accepted each turn
        for server in self.servers:
            server.close()  # at once: what comes between the look above and this is reset
        await super().shutdown(sockets)
