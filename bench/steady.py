"""POST at a steady part of what a service can take: the waits that a closed loop hides."""

import contextlib
import itertools
import statistics

from bench.compare import Plan, pay_orders, probe, problems_of, ratios, say
from bench.load import LoadResult, run_load
from bench.open_loop import run_open_loop
from bench.report import Measured, Row
from bench.servers import running
from bench.throughput import ASYNCPG, OURS, on_postgres

PART = 0.7
CAPACITY_CONNECTIONS = 64
OPEN_CONNECTIONS = 256
"""So many payments may wait for their answers; another waits for one of them, which is in its latency."""

MISSED_PART = 0.9
"""A load of less than this part of what was meant is no such load."""


def measure(plan: Plan) -> Measured:
    """Ours and the fair peer, each at 70 % of what it took in a closed loop just before."""
    measured = Measured([], [])
    subjects = [each for each in on_postgres(plan, "steady") if each.server.name in (OURS, ASYNCPG)]
    seen: dict[str, list[LoadResult]] = {subject.server.name: [] for subject in subjects}
    runs = itertools.count(1)
    with contextlib.ExitStack() as stack:
        services = [stack.enter_context(running(each.server, plan.directory)) for each in subjects]
        for service in services:
            probe(service)
        for round_number in range(plan.rounds + 1):
            for service in services:
                capacity = run_load(
                    service.host,
                    service.port,
                    pay_orders(next(runs)),
                    duration_s=plan.warmup_s,
                    connections=CAPACITY_CONNECTIONS,
                )
                measured.problems.extend(
                    f"{service.name}, capacity: {said}" for said in problems_of(capacity)
                )
                if round_number == 0:
                    continue  # it has warmed up
                wanted = PART * capacity.per_second
                got = run_open_loop(
                    service.host,
                    service.port,
                    pay_orders(next(runs)),
                    per_second=wanted,
                    duration_s=plan.seconds,
                    connections=OPEN_CONNECTIONS,
                )
                say(f"{service.name}: {got.per_second:,.0f}/s steadily, p99 {got.p99_ms:.1f} ms")
                measured.problems.extend(f"{service.name}: {said}" for said in problems_of(got))
                if got.per_second < MISSED_PART * wanted:
                    measured.problems.append(
                        f"{service.name}: {got.per_second:,.0f}/s came through of {wanted:,.0f}/s"
                    )
                seen[service.name].append(got)
    p99s = {name: [each.p99_ms for each in of] for name, of in seen.items()}
    measured.add(
        Row(
            f"POST at {PART:.0%} of what it can take, p99 from when it was due, PostgreSQL",
            f"{name}, {statistics.median(each.per_second for each in of):,.0f} req/s",
            statistics.median(p99s[name]),
            "ms",
            p50_ms=statistics.median(each.p50_ms for each in of),
            p99_ms=statistics.median(p99s[name]),
            ours_by_it=None if name == OURS else ratios(p99s[OURS], p99s[name]),
        )
        for name, of in seen.items()
    )
    return measured
