"""Order hangs: what that costs those who pay, and whether User still hears at once.

`payment serve` with its worker inside is started anew for each run, beside stubs of its own, so that no run
finds the backlog of another. First payments come at a steady pace: how soon is User told? Then as many come
as the service takes: how long does a guest wait?
"""

import contextlib
import statistics
from dataclasses import dataclass

from bench.compare import Plan, pay_orders, problems_of, ratios, say
from bench.databases import migrated, postgres_database, text_of
from bench.load import LoadResult, percentile, run_load
from bench.report import Measured, Row
from bench.servers import call, payment, running, stub
from bench.told import post_steadily, wait_until_told

STEADY_PAYMENTS = 200
STEADY_PER_S = 50.0
HANG_S = 30
ROUNDS_MAX = 3
"""Each round starts everything anew, twice."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one run saw."""

    load: LoadResult
    user_told_p99_s: float


def measure(plan: Plan) -> Measured:
    """POST and the time until User is told, with Order well and with Order hanging, in turn."""
    seen: dict[str, list[Seen]] = {"Order well": [], "Order hanging": []}
    measured = Measured([], [])
    for round_number in range(min(plan.rounds, ROUNDS_MAX)):
        for name, of in seen.items():
            of.append(_run(plan, f"hanging_{round_number}_{len(name)}", hangs=name == "Order hanging"))
            load = of[-1].load
            say(f"{name}: {load.per_second:,.0f}/s, p99 {load.p99_ms:.1f} ms")
            measured.problems.extend(f"{name}: {said}" for said in problems_of(load))
    well = [run.load.per_second for run in seen["Order well"]]
    measured.add(
        Row(
            "POST beside its worker, PostgreSQL",
            name,
            statistics.median(run.load.per_second for run in of),
            "req/s",
            p99_ms=statistics.median(run.load.p99_ms for run in of),
            ours_by_it=None if name == "Order well" else ratios([r.load.per_second for r in of], well),
        )
        for name, of in seen.items()
    )
    measured.add(
        Row(
            f"from 201 until User is told, p99, {STEADY_PER_S:g} payments/s",
            name,
            statistics.median(run.user_told_p99_s for run in of) * 1000,
            "ms",
        )
        for name, of in seen.items()
    )
    return measured


def _run(plan: Plan, database_name: str, *, hangs: bool) -> Seen:
    database = migrated(postgres_database(plan.postgres, database_name))
    with contextlib.ExitStack() as stack:
        order, user = (stack.enter_context(running(stub(name), plan.directory)) for name in ("order", "user"))
        ours = payment(DATABASE_URL=text_of(database), ORDER_SERVICE_URL=order.url, USER_SERVICE_URL=user.url)
        service = stack.enter_context(running(ours, plan.directory))
        if hangs:
            call(order, "POST", "/_stub/faults", {"hang_s": HANG_S})
        accepted_at = post_steadily(service, STEADY_PAYMENTS, STEADY_PER_S)
        told_at = wait_until_told(user, set(accepted_at))
        waits_s = sorted(max(0.0, told_at[n] - at) for n, at in accepted_at.items())
        load = run_load(
            service.host, service.port, pay_orders(1), duration_s=plan.seconds, connections=plan.connections
        )
    return Seen(load, percentile(waits_s, 99))
