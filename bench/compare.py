"""Load several services in turn and say how they compare."""

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from bench.load import Gets, LoadResult, PostPayments, run_load
from bench.postgres_seen import Postgres
from bench.processes import cpu_s
from bench.servers import Running, call

ORDERS_PER_RUN = 10_000_000
"""Every run numbers its orders from a multiple of this, so that no order is paid twice."""

USERS = 1000
DRIVER_CPU_LIMIT = 0.9
PROBE_ORDER = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """How to load the services, and where they keep what they know."""

    rounds: int
    seconds: float
    connections: int
    counts: tuple[int, ...]
    """The numbers of connections of the comparison that is made at several."""
    warmup_s: float
    directory: Path
    """For SQLite files and logs."""
    postgres: URL
    """A PostgreSQL server."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A service, and what it is loaded with."""

    name: str
    service: Running
    requests: Callable[[int], PostPayments | Gets]
    """The requests of a run, given its number; no number comes twice."""
    afterwards: Callable[[], None] = lambda: None
    """What is waited for before another has its turn."""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU µs that an answer of a run took, of all threads and processes, in the kernel too."""

    api: float
    database: float
    """All that PostgreSQL did meanwhile, its log and its vacuums too; 0 where nobody looked."""
    driver: float

    @property
    def served(self) -> float:
        """Of who answers."""
        return self.api + self.database


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was measured: per contender, one result per round."""

    results: dict[str, list[LoadResult]]
    costs: dict[str, list[Cost]]
    accepted: dict[str, int]
    """Answers as expected per contender, those of the warm-up included."""
    problems: list[str]
    """Why this comparison does not count; empty for a good one."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Figures of all rounds: their median, and how far they lie apart."""

    median: float
    lowest: float
    highest: float


class ProbeError(Exception):
    """A service does not do what the comparison is about."""


def pay_orders(run: int, *, users: int = USERS) -> PostPayments:
    """Payments of orders that no other run pays."""
    return PostPayments(first_order_id=run * ORDERS_PER_RUN, users=users)


def compare(
    contenders: Sequence[Contender], plan: Plan, *, postgres: Postgres | None = None, runs_before: int = 0
) -> Comparison:
    """Warm up each contender, then load them in turn, round by round.

    `postgres` is the server that they share; `runs_before` says how many runs their requests had already.
    """
    names = [contender.name for contender in contenders]
    comparison = Comparison(
        {name: [] for name in names}, {name: [] for name in names}, dict.fromkeys(names, 0), []
    )
    run = runs_before
    for round_number in range(plan.rounds + 1):
        for contender in contenders:
            run += 1
            name, warming_up = contender.name, round_number == 0
            label = "warm-up" if warming_up else f"round {round_number}"
            before = _used(contender.service, postgres)
            result = run_load(
                contender.service.host,
                contender.service.port,
                contender.requests(run),
                duration_s=plan.warmup_s if warming_up else plan.seconds,
                connections=plan.connections,
            )
            contender.afterwards()
            cost = _cost(before, _used(contender.service, postgres), result)
            say(
                f"{label}: {name} at {plan.connections}, {result.per_second:,.0f}/s, "
                f"p99 {result.p99_ms:.1f} ms, CPU µs {cost.api:.0f} + {cost.database:.0f}, "
                f"driver {cost.driver:.0f} µs, {result.driver_cpu:.2f} of a core"
            )
            comparison.accepted[name] += result.requests
            comparison.problems.extend(f"{name}, {label}: {problem}" for problem in problems_of(result))
            if not warming_up:
                comparison.results[name].append(result)
                comparison.costs[name].append(cost)
    return comparison


def _used(service: Running, postgres: Postgres | None) -> tuple[float, float]:
    """CPU seconds until now: of a service, of PostgreSQL."""
    return cpu_s(service.pid), sum(postgres.cpu_s()) if postgres else 0.0


def _cost(before: tuple[float, float], after: tuple[float, float], load: LoadResult) -> Cost:
    api, database = (
        (now - then) * 1e6 / max(1, load.requests) for then, now in zip(before, after, strict=True)
    )
    return Cost(api, database, load.driver_cpu * load.elapsed_s * 1e6 / max(1, load.requests))


def problems_of(result: LoadResult) -> list[str]:
    """Why a run does not count; empty for a good one."""
    problems: list[str] = []
    if not result.valid:
        problems.append(
            f"wanted only {result.expected_status}, got {result.statuses}, "
            f"without an answer {result.failures}"
        )
    if result.driver_cpu > DRIVER_CPU_LIMIT:
        problems.append(f"the load driver was the bottleneck ({result.driver_cpu:.2f} of a core)")
    return problems


def probe(service: Running, *, has_bills: bool = True) -> None:
    """Check that the service records a payment and gives it back; one with bills refuses a second payment."""
    payment = {"order_id": PROBE_ORDER, "user_id": 1, "amount": 20_000}
    status, accepted = call(service, "POST", "/payments", payment)
    if status != 201 or accepted.get("message") != "Pembayaran diproses":
        raise ProbeError(f"{service.name}: a payment was answered {status} {accepted}")
    status, refused = call(service, "POST", "/payments", payment)
    if status != (409 if has_bills else 201):
        raise ProbeError(f"{service.name}: paying twice was answered {status} {refused}")
    status, stored = call(service, "GET", f"/payments/{accepted['payment_id']}")
    if status != 200 or any(stored.get(name) != value for name, value in payment.items()):
        raise ProbeError(f"{service.name}: reading it back was answered {status} {stored}")


def spread(figures: Sequence[float]) -> Spread:
    """The median of figures and their extremes."""
    return Spread(statistics.median(figures), min(figures), max(figures))


def ratios(ours: Sequence[float], other: Sequence[float]) -> Spread:
    """Ours ÷ the other, round by round."""
    return spread([a / b if b else 0.0 for a, b in zip(ours, other, strict=True)])


def say(line: str) -> None:
    """Progress, for somebody who watches."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr)
