"""All that a scrape gets: what this process counts, what the others on its port count, and the census."""

import asyncio
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent import futures
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector

from payment.core.metrics import REGISTRY, note_build
from payment.storage.base import Database
from payment.watching.census import CensusTaker
from payment.watching.portmates import Portmates

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format, https://prometheus.io/docs/instrumenting/exposition_formats/."""

WAIT_S = 0.05
"""How long a scrape waits for the other processes; whoever has not answered is left out."""

CENSUS_WAIT_S = 0.02
"""How long it waits for the database; if that takes longer, the next scrape shows what it said."""


class Exposition(Collector):
    """Collects the metrics that a scrape gets.

    Args:
        database: whose census it is.
        portmates: the other processes on our port, if there may be some.
    """

    def __init__(self, database: Database, portmates: Portmates | None = None) -> None:
        self._census = CensusTaker(database)
        self._portmates = portmates
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Say nothing: what there is depends on the census."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, its samples together; called in threads that may wait."""
        futures.wait([self._census.look()], CENSUS_WAIT_S)
        yield from self._known()

    async def text(self) -> bytes:
        """Return them as Prometheus reads them; on the event loop, for which a thread would wait."""
        await asyncio.wait([asyncio.wrap_future(self._census.look())], timeout=CENSUS_WAIT_S)
        if self._portmates is not None:  # they may take their time
            return await asyncio.to_thread(self._text)
        return self._text()

    def _text(self) -> bytes:
        return generate_latest(_Known(list(self._known())))

    def _known(self) -> Iterator[Metric]:
        if self._portmates is None:
            yield from REGISTRY.collect()
        else:
            yield from self._portmates.families(time.monotonic() + WAIT_S)
        yield from self._census.families()


class _Known(Collector):
    """What has been collected."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def say_build(database: Database) -> None:
    """Have the metrics say what runs here."""
    note_build(version("payment"), platform.python_version(), database.url.get_backend_name())
