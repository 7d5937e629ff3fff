"""The open connections: fewer than there may be files, so that there is always room for one more.

A connection for which there is no file is closed by the event loop, and nobody hears of it. Here the one ends
that has waited longest for its next request: whoever opens many keeps neither payments nor probes away.
"""

import resource
import time
from asyncio import Transport

from payment.core.logs import get_logger

FILES_BESIDE = 256
"""How many files a process may need beside its connections: databases, neighbours, the log."""

SAY_EVERY_S = 60.0

_log = get_logger()


class Connections:
    """Those of a process. On one event loop; each connection says itself what becomes of it.

    Args:
        connections_max: the most that may be open.
    """

    def __init__(self, connections_max: int) -> None:
        self._max = connections_max
        self._waiting: dict[Transport, None] = {}  # for a request, the longest first
        self._served: set[Transport] = set()
        self._ended = 0  # since it was said last
        self._say_again_s = 0.0

    def opened(self, transport: Transport) -> None:
        """Let it wait for its first request; if it is one too many, the one that has waited longest ends."""
        self._waiting[transport] = None
        if len(self._waiting) + len(self._served) > self._max:
            longest = next(iter(self._waiting))  # this one itself, if all others are served
            del self._waiting[longest]
            longest.abort()
            self._say()

    def asked(self, transport: Transport) -> None:
        """Keep it until it is answered: the head of a request is there."""
        if transport in self._waiting:
            del self._waiting[transport]
            self._served.add(transport)

    def answered(self, transport: Transport) -> None:
        """Let it wait for its next request."""
        if transport in self._served:
            self._served.discard(transport)
            self._waiting[transport] = None

    def closed(self, transport: Transport) -> None:
        """Forget it."""
        self._waiting.pop(transport, None)
        self._served.discard(transport)

    def _say(self) -> None:
        self._ended += 1
        now_s = time.monotonic()
        if now_s >= self._say_again_s:
            self._say_again_s = now_s + SAY_EVERY_S
            _log.warning("too many connections", most=self._max, ended=self._ended, see="CONNECTIONS_MAX")
            self._ended = 0


def room_for(connections_max: int) -> int:
    """Return how many connections there may be: so many, or as many as the system has files for.

    The process gets as many files as that takes, up to the hard limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections_max + FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < wanted:
            connections_max = max(soft - FILES_BESIDE, soft // 2)
            _log.warning(
                "fewer connections than CONNECTIONS_MAX", most=connections_max, files=soft, see="ulimit -n"
            )
    return connections_max
