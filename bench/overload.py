"""Ten times the load that can be served, and clients that hold connections: what a good client sees of it.

    python -m bench.overload [--seconds 60] [--rounds 5] [--connections 2000] [--times 10]
                             [--path /metrics …] [--only overload|beside] [--sqlite] [--json]

First the capacity is measured (64 connections, a closed loop). Then ten times that is due at a steady rate.
What sends it does not wait for answers, but has so many connections; what none is free for is counted as
`short`, so look at the rate that was reached. Meanwhile /healthz and /readyz are asked. Then one client with
one connection reads a payment and pays, alone and beside clients that dribble, idle or never read.
"""

import argparse
import contextlib
import http.client
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from bench.compare import pay_orders, say
from bench.databases import migrated, postgres_database, postgres_server, sqlite_database, text_of
from bench.load import Gets, LoadResult, PostPayments, percentile, run_load
from bench.pressure import KINDS, Flood, flood, held_up
from bench.servers import Running, payment, resident_mb, running
from payment.core.states import Method
from payment.ledger.batch import book
from payment.ledger.requests import PaymentRequest
from payment.storage.opening import open_database

ACCEPTED_P99_GOAL_MS = 1000
PROBE_P99_GOAL_MS = 100
RATIO_GOAL = 1.5
CAPACITY_CONNECTIONS = 64
PROBES_APART_S = 0.05
PAYMENTS = 20_000
"""Their CSV is several times what fits between the service and a reader who does not read."""


@dataclass(slots=True)
class Watched:
    """What was seen of a service while it was flooded."""

    probes_ms: dict[str, list[float]] = field(default_factory=dict)
    wrong: int = 0
    """Probes whose answer was not 200."""
    before_mb: float = 0.0
    peak_mb: float = 0.0


def main() -> int:
    """The command; 0, or 2 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the flood")
    parser.add_argument("--rounds", type=int, default=5, help="of the good client")
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--times", type=float, default=10.0, help="the load, in capacities")
    parser.add_argument("--path", action="append", default=["/healthz", "/readyz"], help="asked meanwhile")
    parser.add_argument("--only", choices=["overload", "beside"])
    parser.add_argument("--sqlite", action="store_true", help="in place of PostgreSQL")
    parser.add_argument("--json", action="store_true", help="what was measured as JSON")
    chosen = parser.parse_args()
    measured: dict[str, Any] = {"load average": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="bench-") as name, _database(Path(name), chosen.sqlite) as url:
        _fill(url, PAYMENTS)
        with running(payment("--no-worker", DATABASE_URL=text_of(url)), Path(name)) as service:
            if chosen.only != "beside":
                measured["overload"] = _overload(service, chosen)
            if chosen.only != "overload":
                measured["beside"] = _beside(service, chosen.rounds)
    if chosen.json:
        print(json.dumps(measured, indent=2))
    else:
        _print(measured)
    return 2 if _missed(measured) else 0


@contextlib.contextmanager
def _database(directory: Path, is_sqlite: bool) -> Iterator[URL]:  # noqa: FBT001  # an option
    if is_sqlite:
        yield migrated(sqlite_database(directory, "overload"))
        return
    with postgres_server() as server:
        yield migrated(postgres_database(server, "overload"))


def _fill(url: URL, payments: int) -> None:
    database = open_database(url)
    for first in range(1, payments + 1, 200):
        orders = range(first, first + 200)
        requests = [PaymentRequest(order_id, order_id, 20_000, Method.CASH) for order_id in orders]
        with database.batch() as transaction:
            book(transaction, requests, time.time_ns() // 1000)
    database.close()


def _overload(service: Running, chosen: argparse.Namespace) -> dict[str, Any]:
    _load(service, pay_orders(1), 2.0, CAPACITY_CONNECTIONS)  # warms up
    capacity = _load(service, pay_orders(2), 5.0, CAPACITY_CONNECTIONS).per_second
    say(f"capacity {capacity:,.0f}/s")
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as executor:
        rate = chosen.times * capacity
        asked = (service.host, service.port, 10**9, rate, chosen.connections, chosen.seconds)
        flooded = executor.submit(flood, *asked)
        watched = _watch(service, chosen.path, flooded)
        seen = flooded.result()
    again = _load(service, pay_orders(3), 5.0, CAPACITY_CONNECTIONS).per_second
    return _figures(seen, watched, capacity, again) | {"MB afterwards": resident_mb(service)}


def _watch(service: Running, paths: Sequence[str], flooded: "Future[Flood]") -> Watched:
    """Ask these paths, and look at the memory, until the flood is over."""
    seen = Watched({path: [] for path in paths}, before_mb=resident_mb(service))

    def probe(path: str) -> None:
        connection = http.client.HTTPConnection(service.host, service.port, timeout=30)
        while not flooded.done():
            began_s = time.perf_counter()
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            seen.probes_ms[path].append((time.perf_counter() - began_s) * 1000)
            seen.wrong += answer.status != 200
            time.sleep(PROBES_APART_S)
        connection.close()

    threads = [threading.Thread(target=probe, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    while not flooded.done():
        seen.peak_mb = max(seen.peak_mb, resident_mb(service))
        time.sleep(0.5)
    for thread in threads:
        thread.join()
    return seen


def _figures(seen: Flood, watched: Watched, capacity: float, again: float) -> dict[str, Any]:
    return {
        "capacity/s": capacity,
        "capacity/s afterwards": again,
        "offered/s": seen.sent / seen.seconds,
        "short": seen.short,
        "accepted": len(seen.accepted_ms),
        "accepted/s": len(seen.accepted_ms) / seen.seconds,
        "refused": seen.refused,
        "other": dict(seen.other),
        "accepted p50 ms": percentile(sorted(seen.accepted_ms), 50),
        "accepted p99 ms": seen.p99_ms,
        "p99 ms": {path: percentile(sorted(each), 99) for path, each in watched.probes_ms.items()},
        "p50 ms": {path: percentile(sorted(each), 50) for path, each in watched.probes_ms.items()},
        "probes refused": watched.wrong,
        "MB before": watched.before_mb,
        "MB peak": watched.peak_mb,
        "sender's part of a core": seen.cpu,
    }


def _beside(service: Running, rounds: int) -> dict[str, dict[str, float]]:
    """The good client's figures alone and beside each kind of the others; ratios by round, their medians."""
    ratios: dict[str, dict[str, list[float]]] = {}
    orders = iter(range(10, 10**6))
    for round_number in range(rounds + 1):
        for kind in KINDS:
            alone = _good_client(service, next(orders))
            with held_up(kind, service.host, service.port) as fared:
                beside = _good_client(service, next(orders))
                said = fared()
            if round_number:  # the first warms up
                for name, figure in beside.items():
                    ratios.setdefault(kind, {}).setdefault(name, []).append(figure / alone[name])
            say(f"{kind} {said}: {beside}, alone: {alone}")
    return {kind: {name: statistics.median(each) for name, each in of.items()} for kind, of in ratios.items()}


def _good_client(service: Running, run: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    for what, requests in (("GET", Gets(("/payments/1",))), ("POST", pay_orders(run))):
        result = _load(service, requests, 3.0, 1)
        figures |= {f"{what} p50 ms": result.p50_ms, f"{what} p99 ms": result.p99_ms}
    return figures


def _load(service: Running, requests: Gets | PostPayments, seconds: float, connections: int) -> LoadResult:
    result = run_load(service.host, service.port, requests, duration_s=seconds, connections=connections)
    if not result.valid:
        raise SystemExit(f"INVALID: wanted {result.expected_status}: {result.statuses} {result.failures}")
    return result


def _missed(measured: dict[str, Any]) -> list[str]:
    """Which goals are missed."""
    missed = []
    if overload := measured.get("overload"):
        if overload["other"]:
            missed.append(f"answers other than 201 and 503 with Retry-After: {overload['other']}")
        if overload["accepted p99 ms"] >= ACCEPTED_P99_GOAL_MS:
            missed.append(f"p99 of the accepted under {ACCEPTED_P99_GOAL_MS} ms")
        missed += [
            f"p99 of {path} under {PROBE_P99_GOAL_MS} ms"
            for path, p99_ms in overload["p99 ms"].items()
            if p99_ms >= PROBE_P99_GOAL_MS
        ]
    for kind, figures in measured.get("beside", {}).items():
        missed += [f"{name} beside {kind}" for name, ratio in figures.items() if ratio > RATIO_GOAL]
    return missed


def _print(measured: dict[str, Any]) -> None:
    def text(value: object) -> str:
        return f"{value:,.2f}" if isinstance(value, float) else str(value)

    for name, value in measured.get("overload", {}).items():
        said = value
        if isinstance(value, dict):
            said = ", ".join(f"{each} {text(figure)}" for each, figure in value.items()) or "none"
        print(f"{name:26}{text(said)}")
    for kind, figures in measured.get("beside", {}).items():
        said = ", ".join(f"{name.removesuffix(' ms')} {ratio:.2f}" for name, ratio in figures.items())
        print(f"beside {kind}: {said} times as long (goal ≤ {RATIO_GOAL})")
    for goal in _missed(measured):
        print(f"MISSED: {goal}")


if __name__ == "__main__":
    sys.exit(main())
