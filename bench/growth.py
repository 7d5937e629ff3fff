"""How throughput grows with API processes on one port, and what is saturated."""

import contextlib
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy import URL

from bench.compare import ORDERS_PER_RUN, problems_of, say
from bench.databases import text_of
from bench.keyed import KeyedPayments, new_api_key
from bench.load import LoadResult, run_load
from bench.postgres_seen import Postgres
from bench.processes import cpu_s, machine_idle_s
from bench.servers import Running, free_port, payment, running
from bench.sizes_report import Throughput

PROCESSES = (1, 2, 4)
CONNECTIONS = 64
FIRST_RUN = 1000


def measure(
    url: URL, directory: Path, postgres: Postgres, rounds: int, seconds: float
) -> tuple[list[Throughput], list[str]]:
    """POST, no worker beside it: the run of median throughput of each number of processes; what is wrong."""
    api_key, runs, problems = new_api_key(url), itertools.count(FIRST_RUN), list[str]()
    seen: dict[int, list[Throughput]] = {processes: [] for processes in PROCESSES}

    def pay(api: Running, seconds: float) -> LoadResult:
        requests = KeyedPayments(api_key, next(runs) * ORDERS_PER_RUN, guests=1_000_000)
        load = run_load(api.host, api.port, requests, duration_s=seconds, connections=CONNECTIONS)
        problems.extend(problems_of(load))
        return load

    for _ in range(rounds):
        for processes, of in seen.items():
            with _apis(url, directory, processes) as apis:
                pay(apis[0], seconds / 3)
                before = _used(apis, postgres)
                load = pay(apis[0], seconds)
                used = [after - of for after, of in zip(_used(apis, postgres), before, strict=True)]
            *of_apis, database, idle, passed_s = used
            of.append(
                Throughput(
                    processes,
                    load.per_second,
                    load.p99_ms,
                    tuple(each / load.elapsed_s for each in of_apis),
                    database / load.elapsed_s,
                    load.driver_cpu,
                    idle / passed_s,
                    os.cpu_count() or 1,
                    os.getloadavg()[0],
                )
            )
            say(f"{of[-1]}")
    return [sorted(of, key=lambda each: each.per_second)[len(of) // 2] for of in seen.values()], problems


@contextlib.contextmanager
def _apis(url: URL, directory: Path, processes: int) -> Iterator[list[Running]]:
    settings = {"DATABASE_URL": text_of(url), "AUTH": "keys", "PORT": str(free_port()), "REUSE_PORT": "true"}
    ours = payment("--no-worker", **settings)
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(running(replace(ours, name=f"payment-{n}"), directory))
            for n in range(processes)
        ]


def _used(apis: Sequence[Running], postgres: Postgres) -> list[float]:
    """Seconds until now: CPU of each API process and of PostgreSQL, idle cores, the clock."""
    return [*(cpu_s(api.pid) for api in apis), sum(postgres.cpu_s()), machine_idle_s(), time.monotonic()]
