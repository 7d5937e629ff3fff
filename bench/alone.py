"""A payer alone: what the worker in the same process costs whoever pays while nobody else does.

Both services are loaded over one connection, in turn. Before the other's turn the worker has told all, so
that it disturbs only those who pay beside it.
"""

import contextlib
import statistics
from dataclasses import replace

from sqlalchemy import URL

from bench.compare import Contender, Plan, compare, pay_orders, ratios
from bench.databases import count_waiting, migrated, postgres_database, sqlite_database, text_of
from bench.delivery import wait_for
from bench.report import Goal, Measured, Row
from bench.servers import payment, running, stub

WITHOUT, WITH = "no worker", "worker in the process"
GOAL = Goal(2.0, is_ceiling=True)


def measure(plan: Plan) -> Measured:
    """The median time of a POST over one connection, with and without a worker in the process."""
    measured = Measured([], [])
    for name in ("SQLite", "PostgreSQL"):
        seen = _on(name, plan)
        measured.add(seen.rows)
        measured.problems.extend(f"{name}: {said}" for said in seen.problems)
    return measured


def _on(name: str, plan: Plan) -> Measured:
    def database(which: str) -> URL:
        if name == "SQLite":
            return migrated(sqlite_database(plan.directory, which))
        return migrated(postgres_database(plan.postgres, which))

    without, beside = database("alone"), database("beside_worker")
    with contextlib.ExitStack() as stack:
        order, user = (stack.enter_context(running(stub(each), plan.directory)) for each in ("order", "user"))
        neighbours = {"ORDER_SERVICE_URL": order.url, "USER_SERVICE_URL": user.url}
        contenders = [
            Contender(
                WITHOUT,
                stack.enter_context(
                    running(payment("--no-worker", DATABASE_URL=text_of(without)), plan.directory)
                ),
                pay_orders,
            ),
            Contender(
                WITH,
                stack.enter_context(
                    running(payment(DATABASE_URL=text_of(beside), **neighbours), plan.directory)
                ),
                pay_orders,
                afterwards=lambda: wait_for(lambda: _is_all_told(beside), "telling Order and User"),
            ),
        ]
        comparison = compare(contenders, replace(plan, connections=1))
    p50s = {which: [run.p50_ms for run in of] for which, of in comparison.results.items()}
    rows = [
        Row(
            f"POST of a payer alone, {name}",
            which,
            statistics.median(p50s[which]),
            "ms",
            p50_ms=statistics.median(p50s[which]),
            p99_ms=statistics.median(run.p99_ms for run in of),
            ours_by_it=ratios(p50s[WITH], p50s[WITHOUT]) if which == WITHOUT else None,
            goal=GOAL if which == WITHOUT else None,
        )
        for which, of in comparison.results.items()
    ]
    return Measured([rows[1], rows[0]], comparison.problems)


def _is_all_told(database: URL) -> bool:
    return not any(count_waiting(database, neighbour) for neighbour in ("order", "user"))
