"""The walk-in guest: one user id that is on every payment, the hottest row that a restaurant has."""

import contextlib
import statistics

from bench.compare import Contender, Plan, compare, pay_orders, problems_of, ratios
from bench.databases import count_waiting, migrated, postgres_database, text_of
from bench.delivery import wait_for
from bench.load import run_load
from bench.report import Measured, Row
from bench.servers import call, free_port, payment, running, stub

PAYMENTS = 10_000
ONE, MANY = "one guest", "1,000 guests"


def measure(plan: Plan) -> Measured:
    """POST for one guest beside many, and what User gets after it was down all the while."""
    measured = _post(plan)
    after_outage = _outage(plan)
    measured.add(after_outage.rows)
    measured.problems.extend(after_outage.problems)
    return measured


def _post(plan: Plan) -> Measured:
    database = migrated(postgres_database(plan.postgres, "walk_in"))
    with running(payment("--no-worker", DATABASE_URL=text_of(database)), plan.directory) as service:
        comparison = compare(
            [
                Contender(ONE, service, lambda run: pay_orders(run, users=1)),
                Contender(MANY, service, pay_orders),
            ],
            plan,
        )
    rates = {name: [each.per_second for each in of] for name, of in comparison.results.items()}
    rows = [
        Row(
            "POST /payments of a walk-in guest",
            name,
            statistics.median(rates[name]),
            "req/s",
            p99_ms=statistics.median(each.p99_ms for each in results),
            ours_by_it=None if name == ONE else ratios(rates[ONE], rates[name]),
        )
        for name, results in comparison.results.items()
    ]
    return Measured(rows, comparison.problems)


def _outage(plan: Plan) -> Measured:
    database = migrated(postgres_database(plan.postgres, "walk_in_outage"))
    with contextlib.ExitStack() as stack:
        order = stack.enter_context(running(stub("order"), plan.directory))
        user = stub("user", port=free_port())  # not started yet: down
        ours = payment(
            DATABASE_URL=text_of(database),
            ORDER_SERVICE_URL=order.url,
            USER_SERVICE_URL=f"http://127.0.0.1:{user.port}",
        )
        service = stack.enter_context(running(ours, plan.directory))
        booked = run_load(
            service.host, service.port, pay_orders(1, users=1), duration_s=120, requests_max=PAYMENTS
        )
        back = stack.enter_context(running(user, plan.directory))
        wait_for(lambda: count_waiting(database, "user") == 0, "telling User after its outage")
        _, answer = call(back, "GET", "/_stub/received")
    received = answer["received"]
    assert isinstance(received, list)
    row = Row("PUTs to User after an outage", f"{PAYMENTS:,} payments of one guest", len(received), "PUT")
    problems = [f"the outage's payments: {said}" for said in problems_of(booked)]
    if not received or received[-1]["status"] != "paid":
        problems.append(f"the last PUT of {len(received)} was not `paid`")
    return Measured([row], problems)
