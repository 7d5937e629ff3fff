"""How long a start takes, and how much memory the processes hold."""

import contextlib
import http.client
import statistics
import time

from bench.compare import Plan, ProbeError, pay_orders, problems_of, say
from bench.databases import migrated, postgres_database, sqlite_database, text_of
from bench.load import run_load
from bench.report import Goal, Measured, Row
from bench.servers import Running, Server, payment, resident_mb, running, stub, worker

START_GOAL = Goal(1.0, is_ceiling=True)
MEMORY_GOAL = Goal(150, is_ceiling=True)
READY_WITHIN_S = 30.0
LOOK_EVERY_S = 0.002


def measure(plan: Plan) -> Measured:
    """The time from the start of a process with its worker to the first 200 of /readyz; resident memory."""
    sqlite = migrated(sqlite_database(plan.directory, "footprint"))
    postgres = migrated(postgres_database(plan.postgres, "footprint"))
    measured = Measured([], [])
    for name, url in (("SQLite", sqlite), ("PostgreSQL", postgres)):
        starts_s = [_start_s(payment(DATABASE_URL=text_of(url)), plan) for _ in range(plan.rounds)]
        say(f"start on {name}: {', '.join(f'{each:.2f}' for each in starts_s)} s")
        measured.add(
            [
                Row(
                    "start to the first 200 of /readyz, with its worker",
                    name,
                    statistics.median(starts_s),
                    "s",
                    goal=START_GOAL,
                )
            ]
        )
    with contextlib.ExitStack() as stack:
        order, user = (stack.enter_context(running(stub(name), plan.directory)) for name in ("order", "user"))
        api = payment("--no-worker", DATABASE_URL=text_of(postgres))
        service = stack.enter_context(running(api, plan.directory))
        _wait_until_ready(service)
        idle_mb = resident_mb(service)
        load = run_load(
            service.host, service.port, pay_orders(1), duration_s=plan.seconds, connections=plan.connections
        )
        measured.problems.extend(f"memory under load: {said}" for said in problems_of(load))
        loaded_mb = resident_mb(service)
        its_worker = worker(
            DATABASE_URL=text_of(postgres), ORDER_SERVICE_URL=order.url, USER_SERVICE_URL=user.url
        )
        telling = stack.enter_context(running(its_worker, plan.directory))
        time.sleep(plan.seconds)
        worker_mb = resident_mb(telling)
    memory = "memory (RSS), PostgreSQL"
    measured.add(
        [
            Row(memory, "API, idle", idle_mb, "MB", goal=MEMORY_GOAL),
            Row(memory, f"API, after {load.requests:,} payments", loaded_mb, "MB", goal=MEMORY_GOAL),
            Row(memory, "worker, telling", worker_mb, "MB"),
        ]
    )
    return measured


def _start_s(server: Server, plan: Plan) -> float:
    with running(server, plan.directory) as service:
        return _wait_until_ready(service) - service.started_at


def _wait_until_ready(service: Running) -> float:
    """Wait for the first 200 of /readyz; returns when it came, on the clock of `time.perf_counter`."""
    give_up_at = time.perf_counter() + READY_WITHIN_S
    while time.perf_counter() < give_up_at:
        connection = http.client.HTTPConnection(service.host, service.port, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return time.perf_counter()
        time.sleep(LOOK_EVERY_S)
    raise ProbeError(f"{service.name} was not ready within {READY_WITHIN_S:g} s")
