"""A connection's transport: sends an answer's head and body together, gives up whoever takes nothing."""

import fcntl
import struct
import termios
from asyncio import AbstractEventLoop, TimerHandle, Transport
from typing import Any

from payment.core.logs import get_logger

LOOKS = 4
"""How often it is looked, in the time that a reader has, whether he takes anything."""

_log = get_logger()


class CorkedTransport:
    """A transport that sends what is written in one turn of the event loop at once: head and body.

    Args:
        transport: the connection's own.
        loop: the event loop.
        write_timeout_s: how long what was written may wait without any of it being taken; then the connection
            ends, also one that is to be closed once all of it is sent.
    """

    def __init__(self, transport: Transport, loop: AbstractEventLoop, *, write_timeout_s: float) -> None:
        self._transport = transport
        self._loop = loop
        self._write_timeout_s = write_timeout_s
        self._unsent: list[bytes] = []
        self._sent_bytes = 0
        # While something waits to be taken: how much was at the last look that saw more of it taken, and when
        self._taken_bytes = 0
        self._taken_s = 0.0
        self._next_look: TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send this soon."""
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(data)

    def close(self) -> None:
        """Send what was written, then close."""
        self._send()
        self._transport.close()

    def lost(self) -> None:
        """Look no more: the connection is gone."""
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None

    def _send(self) -> None:
        if self._unsent and not self._transport.is_closing():  # the caller may have gone in this very turn
            data = b"".join(self._unsent)
            self._transport.write(data)
            if self._next_look is None:
                self._taken_bytes, self._taken_s = self._sent_bytes, self._loop.time()
                self._look_later()
            self._sent_bytes += len(data)
        self._unsent = []

    def _look_later(self) -> None:
        self._next_look = self._loop.call_later(self._write_timeout_s / LOOKS, self._look)

    def _look(self) -> None:
        """See whether the reader takes something, until he has all."""
        self._next_look = None
        waiting_bytes = self._transport.get_write_buffer_size()
        if not waiting_bytes:
            return
        waiting_bytes += in_kernel_bytes(self._transport)
        taken_bytes, now_s = self._sent_bytes - waiting_bytes, self._loop.time()
        if taken_bytes > self._taken_bytes:
            self._taken_bytes, self._taken_s = taken_bytes, now_s
        elif now_s - self._taken_s >= self._write_timeout_s:
            _log.warning("an answer was broken off: nobody takes it", within_s=self._write_timeout_s)
            self._transport.abort()
            return
        self._look_later()


def in_kernel_bytes(transport: Transport) -> int:
    """Return how much the kernel has that the other side has not; 0 where it does not say (only Linux does).

    It makes room for more only now and then, so a slow reader would seem to take nothing for long.
    """
    try:
        said = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    return int(struct.unpack("i", said)[0])
