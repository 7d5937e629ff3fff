"""How many requests there may be at a time: those that still arrive, those in hand, those that are streams.

Whoever sends slowly, or reads slowly, keeps nobody from paying: neither is in hand meanwhile. Nor does a
queue of payments keep anybody from reading: reads have places of their own.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from payment.core.errors import Unavailable
from payment.web.http_errors import BodyTooSlow

READS = frozenset({"GET", "HEAD", "OPTIONS"})

Arrived = TypeVar("Arrived")


class Places:
    """All places. On one event loop; each request's `Place` changes the counts.

    Args:
        in_hand_max: the most changes in hand, and the most reads; one more is refused.
        arriving_max: the most whose bodies still arrive; of more, the one that began first is refused.
        streams_max: the most answers that are made while they are sent; one more is refused.
    """

    def __init__(self, *, in_hand_max: int, arriving_max: int, streams_max: int) -> None:
        self.in_hand_max = in_hand_max
        self.in_hand = {True: 0, False: 0}  # reads, changes
        self.streams_max = streams_max
        self.streams = 0
        self._arriving_max = arriving_max
        # The time that each has to arrive, in the order in which they began. `begin` adds, `end` and
        # `_push_out` remove.
        self._arriving: dict[asyncio.Timeout, None] = {}

    def begin(self, arriving: asyncio.Timeout) -> None:
        """Count one that arrives. If they are too many then, the slowest has had its time."""
        self._arriving[arriving] = None
        if len(self._arriving) > self._arriving_max:
            # later: most have arrived by then, in the packet that their head came in
            asyncio.get_running_loop().call_soon(self._push_out)

    def end(self, arriving: asyncio.Timeout) -> bool:
        """Count it out; say whether it was pushed out."""
        was_there = arriving in self._arriving
        self._arriving.pop(arriving, None)
        return not was_there

    def _push_out(self) -> None:
        if len(self._arriving) > self._arriving_max:
            slowest = next(iter(self._arriving))
            del self._arriving[slowest]
            slowest.reschedule(0)


class Place:
    """The place of one request: in hand, but while its body arrives; or a stream's.

    Args:
        places: all places.
        method: the request's.

    Attributes:
        was_refused: there was none.
    """

    __slots__ = ("_is_in_hand", "_is_stream", "_places", "_reads", "was_refused")

    def __init__(self, places: Places, method: str) -> None:
        self._places = places
        self._reads = method in READS
        self.was_refused = False
        self._is_in_hand = False
        self._is_stream = False

    def take(self) -> None:
        """Be in hand.

        Raises:
            Unavailable: too many are.
        """
        if self._places.in_hand[self._reads] >= self._places.in_hand_max:
            self.was_refused = True
            raise Unavailable
        self._places.in_hand[self._reads] += 1
        self._is_in_hand = True

    def answered(self) -> None:
        """Be in hand no more: the answer is there, and how fast it is read is its reader's affair."""
        if self._is_in_hand:
            self._is_in_hand = False
            self._places.in_hand[self._reads] -= 1

    async def arrive(self, body: Awaitable[Arrived], within_s: float) -> Arrived:
        """Return the body once it has arrived; until then this is not in hand.

        Raises:
            BodyTooSlow: that took too long.
            Unavailable: too many arrive, and this is the slowest; or too many are in hand when it is there.
        """
        self.answered()
        was_pushed_out = False
        try:
            async with asyncio.timeout(within_s) as time_left:
                self._places.begin(time_left)
                try:
                    arrived = await body
                finally:
                    was_pushed_out = self._places.end(time_left)
        except TimeoutError:
            if was_pushed_out:
                raise Unavailable(closes=True) from None
            raise BodyTooSlow(timeout_s=within_s) from None
        self.take()
        return arrived

    def stream(self) -> None:
        """Be a stream from now on.

        Raises:
            Unavailable: there are too many.
        """
        if self._places.streams >= self._places.streams_max:
            self.was_refused = True
            raise Unavailable
        self.answered()
        self._places.streams += 1
        self._is_stream = True

    def leave(self) -> None:
        """Have no place any more."""
        self.answered()
        if self._is_stream:
            self._is_stream = False
            self._places.streams -= 1
