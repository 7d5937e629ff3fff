"""A connection's transport that sends an answer's head and body together."""

from asyncio import AbstractEventLoop, Transport
from typing import Any


class CorkedTransport:
    """A transport that sends what is written in one turn of the event loop at once: head and body."""

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._unsent: list[bytes] = []

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

    def _send(self) -> None:
        if self._unsent and not self._transport.is_closing():  # the caller may have gone in this very turn
            self._transport.write(b"".join(self._unsent))
        self._unsent = []
