"""What `bench.sizes` measured, as Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

IS_FULL = 0.9
"""From this part of a core on, a process is said to be saturated."""

IDLE_MIN = 0.1
"""Below this many idle cores the machine is."""

RESTAURANTS = (1, 100, 10_000, 1_000_000)
PAYMENTS_A_DAY = 300
PEAK_HOUR = 0.2
"""The part of a day's payments that comes in its fullest hour."""

GATHERS_FROM = 1000
"""Payments a second from which on a plan counts with batches of several payments."""

KEPT_DAYS = {"notifications": 90, "idempotency_keys": 30}
"""What `payment prune` deletes, and after how many days; all else is kept for good."""

TINY = 0.01
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
    idle: Cost | None = None
    """What a second costs on PostgreSQL in which nothing comes."""
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
    if seen.idle:
        yield (
            f"While nothing comes, CPU ms a second: API {seen.idle.api / 1000:.1f}, worker "
            f"{seen.idle.worker / 1000:.1f}, PostgreSQL {seen.idle.database / 1000:.1f}."
        )
        yield ""
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
    yield from _plan(seen)
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
        own = [f"{each.vacuumed:,.0f}" for each in of if not each.index]
        indexes = (f"{_short_name(each.index, name)} {each.vacuumed:,.0f}" for each in of if each.index)
        rows.append((name, *_both(of), *(own or [""]), ", ".join(indexes)))
    rows.append(("**PostgreSQL**", *_both(seen.sizes), "", ""))
    rows.append(("**SQLite**, the file", f"{seen.sqlite_bytes:,.0f}", "", "", ""))
    yield from _table(("bytes a payment on disk", "after VACUUM", "packed", "its rows", "its indexes"), rows)


def _short_name(index: str, table: str) -> str:
    return index.removeprefix("ix_").replace(f"{table}_", "").replace(f"pk_{table}", "key")


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


def _plan(seen: Seen) -> Iterator[str]:
    """What so many restaurants take, by the figures above and the assumptions."""
    headings = ["", *(f"{n:,} restaurant{'s' if n > 1 else ''}" for n in RESTAURANTS)]
    peak = [n * PAYMENTS_A_DAY * PEAK_HOUR / 3600 for n in RESTAURANTS]
    few, many = min(seen.postgres), max(seen.postgres)
    costs = [seen.postgres[few if each < GATHERS_FROM else many] for each in peak]
    wal_bytes = max(each for each, _ in seen.log.values())
    rows: list[tuple[str, list[float], str]] = [("payments/s in the peak hour", peak, "")]
    for name, of in (
        ("API", [cost.api for cost in costs]),
        ("worker", [cost.worker for cost in costs]),
        ("PostgreSQL", [cost.database for cost in costs]),
    ):
        rows.append((f"cores: {name}", [n * us / 1e6 for n, us in zip(peak, of, strict=True)], ""))
    rows.append(("WAL", [each * wal_bytes / 1e6 for each in peak], " MB/s"))
    by_table: dict[str, float] = {}
    for size in seen.sizes:
        by_table[size.table] = by_table.get(size.table, 0.0) + size.vacuumed
    for table, a_payment in by_table.items():
        if table == "leases":  # gone once told
            continue
        days = KEPT_DAYS.get(table, 365)
        what = f"{table}, of {days} days" if table in KEPT_DAYS else f"{table}, a year"
        rows.append((what, [n * PAYMENTS_A_DAY * days * a_payment / 1e9 for n in RESTAURANTS], " GB"))
    yield from _table(headings, ((what, *(f"{_short(n)}{unit}" for n in of)) for what, of, unit in rows))


def _short(number: float) -> str:
    """A number with two digits that count, or all before its point; what is tiny is not told apart."""
    if number < TINY:
        return f"< {TINY:g}"
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|---{'|---:' * (len(headings) - 1)}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
