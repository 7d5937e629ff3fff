"""What `bench.sizes` measured, as Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

IS_FULL = 0.9
"""From this part of a core on, a process is said to be saturated."""

IDLE_MIN = 0.1
"""Below this many idle cores the machine is."""

OTHERS_MAX = 0.4
"""So many cores the kernel's share of the load may take beside our processes."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a payment of one run cost, or the medians of several runs; CPU in µs."""

    api: float
    worker: float
    database_of_api: float
    database_of_worker: float
    database_rest: float
    """Of PostgreSQL's own processes: the log's writer, checkpoints, vacuums."""
    wal_bytes: float

    @property
    def database(self) -> float:
        """All of PostgreSQL."""
        return self.database_of_api + self.database_of_worker + self.database_rest


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes on disk a payment of a table or of an index: after VACUUM, and packed by VACUUM FULL."""

    table: str
    index: str | None
    vacuumed: float
    packed: float


@dataclass(frozen=True, slots=True)
class Throughput:
    """What so many API processes on one port took at 64 connections; CPU in cores."""

    processes: int
    per_second: float
    p99_ms: float
    api: tuple[float, ...]
    database: float
    driver: float
    idle: float
    cores: int
    load_average: float

    @property
    def others(self) -> float:
        """What all else on the machine took: the system, and whoever shares it."""
        return max(0.0, self.cores - self.idle - sum(self.api) - self.database - self.driver)

    @property
    def saturated(self) -> str:
        """What can do no more."""
        if self.idle < IDLE_MIN:
            return "the machine" if self.others < OTHERS_MAX else "the machine, by others too"
        if max(self.api) > IS_FULL:
            return "the API process"
        return "nothing: it waits for round trips and the disk"


@dataclass(slots=True)
class Seen:
    """All that was measured; costs by the number of connections."""

    conditions: str = ""
    postgres: dict[int, Cost] = field(default_factory=dict)
    sqlite: dict[int, Cost] = field(default_factory=dict)
    log: dict[str, tuple[float, float]] = field(default_factory=dict)
    """WAL bytes and images of whole pages a payment, by how the log was written."""
    sizes: list[Size] = field(default_factory=list)
    sqlite_bytes: float = 0.0
    connections: dict[str, int] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)
    throughput: list[Throughput] = field(default_factory=list)


def markdown(seen: Seen) -> Iterator[str]:
    """The lines of it."""
    yield from _costs(seen)
    yield from _table(
        ("WAL, bytes a payment until it is told", "bytes", "whole pages"),
        ((how, f"{each:,.0f}", f"{pages:.2f}") for how, (each, pages) in seen.log.items()),
    )
    yield from _sizes(seen)
    yield from _table(
        ("a process holds", "connections", "memory, MB"),
        (
            (name, str(seen.connections.get(name, "")), f"{memory:.0f}")
            for name, memory in seen.memory_mb.items()
        ),
    )
    yield from _throughput(seen.throughput)
    yield seen.conditions


def _costs(seen: Seen) -> Iterator[str]:
    at = list(seen.postgres)
    rows: list[tuple[str, ...]] = []
    for database, costs in (("PostgreSQL", seen.postgres), ("SQLite", seen.sqlite)):
        of = list(costs.values())
        rows.append((f"API process, on {database}", *(f"{each.api:,.0f}" for each in of)))
        rows.append((f"worker process, on {database}", *(f"{each.worker:,.0f}" for each in of)))
    of = list(seen.postgres.values())
    rows.append(("PostgreSQL for the API", *(f"{each.database_of_api:,.0f}" for each in of)))
    rows.append(("PostgreSQL for the worker", *(f"{each.database_of_worker:,.0f}" for each in of)))
    rows.append(("PostgreSQL's own processes", *(f"{each.database_rest:,.0f}" for each in of)))
    rows.append(("PostgreSQL, all", *(f"**{each.database:,.0f}**" for each in of)))
    headings = [f"{n} connection{'s' if n > 1 else ''}" for n in at]
    yield from _table(("CPU, µs a payment until it is told", *headings), rows)


def _sizes(seen: Seen) -> Iterator[str]:
    tables: dict[str, list[Size]] = {}
    for size in seen.sizes:
        tables.setdefault(size.table, []).append(size)
    rows: list[tuple[str, ...]] = []
    for name, of in tables.items():
        rows.append((f"**{name}**", "all", *_both(of)))
        rows += [("", each.index or "rows", *_both([each])) for each in of]
    rows.append(("**PostgreSQL**", "all", *_both(seen.sizes)))
    rows.append(("**SQLite**", "the file", f"**{seen.sqlite_bytes:,.0f}**", ""))
    yield from _table(("bytes a payment on disk", "of it", "after VACUUM", "packed"), rows)


def _both(of: Iterable[Size]) -> tuple[str, str]:
    sizes = list(of)
    packed = sum(each.packed for each in sizes)
    return f"{sum(each.vacuumed for each in sizes):,.0f}", f"{packed:,.0f}" if packed else ""


def _throughput(results: Sequence[Throughput]) -> Iterator[str]:
    def row(each: Throughput) -> tuple[str, ...]:
        return (
            str(each.processes),
            f"{each.per_second:,.0f}",
            f"{each.p99_ms:.0f}",
            " + ".join(f"{cores:.2f}" for cores in each.api),
            f"{each.database:.2f}",
            f"{each.driver:.2f}",
            f"{each.others:.2f}",
            f"{each.idle:.2f}",
            each.saturated,
            f"{each.load_average:.1f}",
        )

    headings = (
        "API processes|payments/s|p99 ms|cores: API|PostgreSQL|driver|others|idle|saturated|load average"
    )
    yield from _table(headings.split("|"), map(row, results))


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|---{'|---:' * (len(headings) - 1)}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
