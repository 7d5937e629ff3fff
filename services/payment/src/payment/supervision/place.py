"""A place among the processes: it is filled by one after another, as they die or are renewed."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NoReturn

from payment.core.logs import get_logger
from payment.supervision.child import Child, CouldNotStart, start_child

END_WITHIN_S = 10.0
"""How long a process has to end in order, as each promises."""

PAUSE_FIRST_S = 0.25
PAUSE_MAX_S = 30.0
"""Of what dies again and again. It is never given up: what it lacks (memory, a database) may come back."""

_log = get_logger()


def pause_s(deaths: int) -> float:
    """Return how long to wait before the next start, seconds, after so many deaths in a row."""
    return min(PAUSE_MAX_S, PAUSE_FIRST_S * 2.0 ** min(deaths - 1, 16))


class Place:
    """One of the processes that are to run, whichever it is.

    Args:
        name: what its log lines say, `1` or `worker`.
        arguments: what `payment` is run with.
        environment: the whole environment; files that it names are read anew by each process.
        overlaps: whether the old one may go on until a new one is ready.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], *, overlaps: bool
    ) -> None:
        self._name = name
        self._arguments = arguments
        self._environment = environment
        self._overlaps = overlaps
        self._child: Child | None = None
        self._alive: list[Child] = []  # the one above, one that ends, one that is not ready
        self._deaths = 0  # in a row
        self._changing = asyncio.Lock()

    async def fill(self) -> None:
        """Start a process here; return when it is ready.

        Raises:
            CouldNotStart: it ended instead.
        """
        child = await start_child(self._name, self._arguments, self._environment)
        self._alive = [each for each in self._alive if each.runs] + [child]
        await child.ready()
        self._child = child
        _log.info("process started", process=self._name, pid=child.pid)

    async def fill_in_the_end(self) -> None:
        """Start a process here, again and again until one is ready."""
        while True:
            try:
                return await self.fill()
            except CouldNotStart as error:
                await self._pause("process did not start", code=error.code)

    async def keep(self) -> NoReturn:
        """Fill the place again whenever its process has died; it has been filled."""
        while True:
            child = self._child
            assert child is not None
            code = await child.ended()
            async with self._changing:
                if child is not self._child:  # another has taken its place
                    continue
                if asyncio.get_running_loop().time() - child.began_s > PAUSE_MAX_S:
                    self._deaths = 0
                await self._pause("process died", pid=child.pid, code=code)
                await self.fill_in_the_end()

    async def renew(self) -> None:
        """Put a new process in the place of the old, which ends in order.

        Raises:
            CouldNotStart: the new one ended; the old one goes on.
        """
        async with self._changing:
            old = self._child
            if self._overlaps:
                await self.fill()
            until_s = asyncio.get_running_loop().time() + END_WITHIN_S
            if old is not None:
                await old.end(until_s)
            if not self._overlaps:
                await self.fill_in_the_end()

    async def end(self, until_s: float) -> bool:
        """End what runs here; return whether it ended in order. Neither `keep` nor `renew` may run any more.

        Args:
            until_s: when it is killed, on the event loop's clock.
        """
        ends = [child.end(until_s) for child in self._alive if child.runs]
        return all(await asyncio.gather(*ends))

    async def _pause(self, why: str, **facts: int) -> None:
        self._deaths += 1
        again_in_s = pause_s(self._deaths)
        _log.error(why, process=self._name, again_in_s=again_in_s, **facts)
        await asyncio.sleep(again_in_s)
