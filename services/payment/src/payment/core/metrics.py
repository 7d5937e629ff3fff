"""Every metric of the service: its name, its labels, what it says. docs/operations.md has the same table.

Whoever knows something notes it here; `web` and `telling` show it. What the database knows is in
`watching.census`.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import cache
from itertools import accumulate
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()
"""What this process counts."""

ProcessCollector(registry=REGISTRY)

REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class RequestTally(Collector):
    """Counts requests, which one thread answers: in a fifth of the time that counters with locks take."""

    def __init__(self) -> None:
        # One thread adds; a scrape's copies each before it looks.
        self._answered: dict[tuple[str, int], int] = {}
        self._took: dict[str, list[float]] = {}  # how many took so long, by REQUEST_SECONDS, and all seconds

    def note(self, operation: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        key = operation, status
        self._answered[key] = self._answered.get(key, 0) + 1
        took = self._took.get(operation)
        if took is None:
            took = self._took[operation] = [0.0] * (len(REQUEST_SECONDS) + 2)
        took[bisect_left(REQUEST_SECONDS, seconds)] += 1
        took[-1] += seconds

    def describe(self) -> Iterator[Metric]:
        """Yield both, empty."""
        yield CounterMetricFamily("payment_requests", "Requests answered.", labels=["operation", "status"])
        yield HistogramMetricFamily(
            "payment_request_seconds", "From a request's head to the end of its answer.", labels=["operation"]
        )

    def collect(self) -> Iterator[Metric]:
        """Yield both."""
        requests, seconds = self.describe()
        assert isinstance(requests, CounterMetricFamily)
        assert isinstance(seconds, HistogramMetricFamily)
        for (operation, status), number in dict(self._answered).items():
            requests.add_metric([operation, str(status)], number)
        for operation, took in dict(self._took).items():
            *numbers, sum_seconds = list(took)
            bounds = [*(str(float(bound)) for bound in REQUEST_SECONDS), "+Inf"]
            seconds.add_metric([operation], list(zip(bounds, accumulate(numbers), strict=True)), sum_seconds)
        yield requests
        yield seconds


_TALLY = RequestTally()
REGISTRY.register(_TALLY)
note_request = _TALLY.note

_IN_FLIGHT = Gauge("payment_requests_in_flight", "Requests that are not answered yet.", registry=REGISTRY)
_QUEUE_LENGTH = Gauge("payment_queue_length", "Requests that wait for a batch.", registry=REGISTRY)
_BATCH_SIZE = Histogram(
    "payment_batch_size", "Requests in a batch.", buckets=(1, 2, 4, 8, 16, 32, 64), registry=REGISTRY
)
_BATCH_SECONDS = Histogram(
    "payment_batch_seconds",
    "A batch's transaction.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
_TOLD_SECONDS = Histogram(
    "payment_told_seconds",
    "From the commit until a neighbour has taken the news.",
    ["service"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600),
    registry=REGISTRY,
)
_ATTEMPTS = Counter(
    "payment_delivery_attempts", "Attempts to tell a neighbour.", ["service", "outcome"], registry=REGISTRY
)
_CIRCUIT_OPEN = Gauge(
    "payment_circuit_open",
    "1 while a neighbour fails and is only probed.",
    ["service"],
    registry=REGISTRY,
)
_is_circuit_open: dict[str, Callable[[], bool]] = {}  # by the neighbours that this process tells
_CONNECTIONS = Gauge("payment_database_connections", "Connections in use.", ["pool"], registry=REGISTRY)
_DATABASE_WAIT_SECONDS = Histogram(
    "payment_database_wait_seconds",
    "Wait for a connection; on SQLite for a thread.",
    ["pool"],
    buckets=(0.0001, 0.001, 0.01, 0.1, 1, 3),
    registry=REGISTRY,
)
_BUILD_INFO = Gauge(
    "payment_build_info", "What runs here.", ["version", "python", "database"], registry=REGISTRY
)


def note_batch(size: int, seconds: float) -> None:
    """Count a batch that was written, or failed."""
    _BATCH_SIZE.observe(size)
    _BATCH_SECONDS.observe(seconds)


def note_attempt(service: str, outcome: str) -> None:
    """Count an attempt to tell a neighbour."""
    _ATTEMPTS.labels(service, outcome).inc()


def note_told(service: str, seconds: float) -> None:
    """Note how long after the commit a neighbour was told."""
    _TOLD_SECONDS.labels(service).observe(seconds)


def note_database_wait(pool: str, seconds: float) -> None:
    """Note how long somebody waited for a connection."""
    _wait_of(pool).observe(seconds)


def expect_neighbour(service: str, outcomes: list[str], is_open: Callable[[], bool]) -> None:
    """Show a neighbour before anything has happened: what appears with its first failure has no rate."""
    _TOLD_SECONDS.labels(service)
    for outcome in outcomes:
        _ATTEMPTS.labels(service, outcome)
    _CIRCUIT_OPEN.labels(service).set_function(is_open)
    _is_circuit_open[service] = is_open


def is_circuit_open(service: str) -> bool | None:
    """Say whether a neighbour fails and is only probed; None if this process does not tell it."""
    is_open = _is_circuit_open.get(service)
    return None if is_open is None else is_open()


def watch_in_flight(count: Callable[[], int]) -> None:
    """Show how many requests are in flight."""
    _IN_FLIGHT.set_function(count)


def watch_queue(length: Callable[[], int]) -> None:
    """Show how many requests wait for a batch."""
    _QUEUE_LENGTH.set_function(length)


def watch_connections(name: str, pool: Any) -> None:
    """Show how many connections of one of SQLAlchemy's pools are in use."""
    _CONNECTIONS.labels(name).set_function(pool.checkedout)


def note_build(version: str, python: str, database: str) -> None:
    """Say what runs here."""
    _BUILD_INFO.labels(version, python, database).set(1)


@cache
def _wait_of(pool: str) -> Histogram:
    return _DATABASE_WAIT_SECONDS.labels(pool)
