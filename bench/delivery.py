"""Delivery: one `payment worker` that works off a backlog, beside bare `requests`.

The backlog is booked while no worker runs. What the worker does beside sending (claim by lease, compute
what is to be told, settle) is what bare `requests` does not do; the ratio is what that costs. Both make the
same PUTs to the same stubs, whose records say how fast they came.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import requests
from sqlalchemy import URL

from bench.compare import Plan, ProbeError, pay_orders, problems_of, ratios, say
from bench.databases import count_waiting, migrated, postgres_database, text_of
from bench.load import run_load
from bench.report import Goal, Measured, Row
from bench.servers import Running, call, payment, running, stub, worker

BACKLOG = 2000
THREADS = 8
"""As many as a lane of the worker has (LANE_CONCURRENCY)."""

WITHIN_S = 120.0
LOOK_EVERY_S = 0.1
GOAL = Goal(0.9)

PATHS = {"order": "/orders/{id}/payment", "user": "/users/{id}/payment-service"}
NEWS = {"order": {"payment_status": "paid"}, "user": {"status": "paid"}}


def measure(plan: Plan) -> Measured:
    """The PUTs a second of the worker, to one service and to both, and those of bare `requests`."""
    database = migrated(postgres_database(plan.postgres, "delivery"))
    measured = Measured([], [])
    with (
        running(stub("order"), plan.directory) as order,
        running(stub("user"), plan.directory) as user,
        running(payment("--no-worker", DATABASE_URL=text_of(database)), plan.directory) as service,
    ):
        its_worker = worker(
            DATABASE_URL=text_of(database), ORDER_SERVICE_URL=order.url, USER_SERVICE_URL=user.url
        )
        run = 0
        for what, told, guests in (("Order", [order], 1), ("Order and User", [order, user], BACKLOG)):
            by_worker: list[float] = []
            bare: list[float] = []
            for _ in range(plan.rounds):
                run += 1
                backlog = pay_orders(run, users=guests)
                booked = run_load(service.host, service.port, backlog, duration_s=60, requests_max=BACKLOG)
                measured.problems.extend(f"the backlog: {said}" for said in problems_of(booked))
                _forget(order, user)
                with running(its_worker, plan.directory):
                    wait_for(lambda: _is_all_told(database), "the worker")
                by_worker.append(_puts_per_s(told))
                _forget(order, user)
                _put_all(told, backlog.first_order_id, BACKLOG)
                bare.append(_puts_per_s(told))
                say(f"delivery to {what}: worker {by_worker[-1]:,.0f}/s, requests {bare[-1]:,.0f}/s")
            named = f"delivery to {what}, backlog {BACKLOG:,}"
            measured.add(
                [
                    Row(named, "payment worker", statistics.median(by_worker), "PUT/s"),
                    Row(
                        named,
                        f"requests, {THREADS * len(told)} threads",
                        statistics.median(bare),
                        "PUT/s",
                        ours_by_it=ratios(by_worker, bare),
                        goal=GOAL,
                    ),
                ]
            )
    return measured


def wait_for(fact: Callable[[], bool], what: str) -> None:
    """Wait until a fact is true."""
    give_up_at = time.monotonic() + WITHIN_S
    while not fact():
        if time.monotonic() > give_up_at:
            raise ProbeError(f"{what} was not done within {WITHIN_S:g} s")
        time.sleep(LOOK_EVERY_S)


def _is_all_told(database: URL) -> bool:
    return not any(count_waiting(database, service) for service in PATHS)


def _forget(*services: Running) -> None:
    for service in services:
        call(service, "DELETE", "/_stub/received")


def _puts_per_s(services: Sequence[Running]) -> float:
    """How fast the PUTs came, all services together, by the stubs' own records."""
    arrived_at: list[float] = []
    for service in services:
        _, answer = call(service, "GET", "/_stub/received")
        received = answer["received"]
        assert isinstance(received, list)
        if len({put["id"] for put in received}) != BACKLOG:
            raise ProbeError(f"{service.name} heard of {len(received)} instead of {BACKLOG}")
        arrived_at += [put["at"] for put in received]
    return len(arrived_at) / (max(arrived_at) - min(arrived_at))


def _put_all(services: Sequence[Running], first_order_id: int, number: int) -> None:
    """Make the worker's PUTs with bare `requests`, from a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    targets = [
        (
            service.url + PATHS[service.name],
            NEWS[service.name],
            first_order_id if service.name == "order" else 1,
        )
        for service in services
    ]
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as executor:
        executor.submit(_put_in_threads, targets, number).result()


def _put_in_threads(targets: list[tuple[str, dict[str, str], int]], number: int) -> None:
    def put_some(url: str, news: dict[str, str], ids: range) -> None:
        with requests.Session() as session:
            session.trust_env = False
            for target_id in ids:
                session.put(url.format(id=target_id), json=news, timeout=(2, 5)).raise_for_status()

    with ThreadPoolExecutor(THREADS * len(targets)) as threads:
        doing = [
            threads.submit(put_some, url, news, range(first_id + n, first_id + number, THREADS))
            for url, news, first_id in targets
            for n in range(THREADS)
        ]
        for done in doing:
            done.result()
