"""Load several services in turn and say how they compare."""

import http.client
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.load import LoadResult, PostPayments, run_load
from bench.servers import Running

ORDERS_PER_RUN = 10_000_000
"""Every run numbers its orders from a multiple of this, so that no order is paid twice."""

USERS = 1000
DRIVER_CPU_LIMIT = 0.9
PROBE_ORDER = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """How to load the services."""

    rounds: int
    seconds: float
    connections: int
    warmup_s: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was measured: per service, one result per round."""

    results: dict[str, list[LoadResult]]
    acknowledged: dict[str, int]
    """Payments that were answered 201, per service, warm-up and probe included."""
    problems: list[str]
    """Why this comparison does not count; empty for a good one."""


class ProbeError(Exception):
    """A service does not do what the comparison is about."""


def compare(services: Sequence[Running], plan: Plan) -> Comparison:
    """Probe and warm up each service, then load them in turn, round by round."""
    comparison = Comparison(results={service.name: [] for service in services}, acknowledged={}, problems=[])
    for service in services:
        probe(service)
        comparison.acknowledged[service.name] = 1
    run = 0
    for round_number in range(plan.rounds + 1):
        for service in services:
            run += 1
            warming_up = round_number == 0
            label = "warm-up" if warming_up else f"round {round_number}"
            result = run_load(
                service.host,
                service.port,
                PostPayments(first_order_id=run * ORDERS_PER_RUN, users=USERS),
                duration_s=plan.warmup_s if warming_up else plan.seconds,
                connections=plan.connections,
            )
            _say(f"{label}: {service.name} {result.per_second:,.0f}/s")
            comparison.acknowledged[service.name] += result.statuses.get(201, 0)
            if not result.valid:
                comparison.problems.append(
                    f"{service.name}, {label}: wanted only {result.expected_status}, got "
                    f"{result.statuses}, without an answer {result.failures}"
                )
            if not warming_up:
                comparison.results[service.name].append(result)
                if result.driver_cpu > DRIVER_CPU_LIMIT:
                    comparison.problems.append(
                        f"{service.name}, {label}: the load driver was the bottleneck "
                        f"({result.driver_cpu:.2f} of a core)"
                    )
    return comparison


def probe(service: Running) -> None:
    """Check that the service records a payment, refuses a second one and gives the first back."""
    payment = {"order_id": PROBE_ORDER, "user_id": 1, "amount": 20_000}
    status, accepted = call(service, "POST", "/payments", payment)
    if status != 201 or accepted.get("message") != "Pembayaran diproses":
        raise ProbeError(f"{service.name}: a payment was answered {status} {accepted}")
    status, refused = call(service, "POST", "/payments", payment)
    if status != 409:
        raise ProbeError(f"{service.name}: paying twice was answered {status} {refused}")
    status, stored = call(service, "GET", f"/payments/{accepted['payment_id']}")
    if status != 200 or any(stored.get(name) != value for name, value in payment.items()):
        raise ProbeError(f"{service.name}: reading it back was answered {status} {stored}")


def call(service: Running, method: str, path: str, body: object = None) -> tuple[int, dict[str, object]]:
    """One request and its JSON answer."""
    connection = http.client.HTTPConnection(service.host, service.port, timeout=30)
    try:
        connection.request(
            method,
            path,
            body=None if body is None else json.dumps(body),
            headers={} if body is None else {"Content-Type": "application/json"},
        )
        response = connection.getresponse()
        answer: dict[str, object] = json.loads(response.read())
        return response.status, answer
    finally:
        connection.close()


def ratios(ours: Sequence[LoadResult], peer: Sequence[LoadResult]) -> list[float]:
    """Ours ÷ the peer's requests per second, round by round."""
    return [a.per_second / b.per_second if b.per_second else 0.0 for a, b in zip(ours, peer, strict=True)]


def summary(comparison: Comparison, *, ours: str = "payment") -> dict[str, dict[str, float]]:
    """Per service: the medians over the rounds, and how many times as fast ours is."""
    rows: dict[str, dict[str, float]] = {}
    for name, results in comparison.results.items():
        rows[name] = row = {
            "per_second": statistics.median(result.per_second for result in results),
            "p50_ms": statistics.median(result.p50_ms for result in results),
            "p99_ms": statistics.median(result.p99_ms for result in results),
        }
        if ours in comparison.results and name != ours:
            by_round = ratios(comparison.results[ours], results)
            row["ratio"] = statistics.median(by_round)
            row["ratio_min"] = min(by_round)
            row["ratio_max"] = max(by_round)
    return rows


def table(rows: dict[str, dict[str, float]], *, ours: str = "payment") -> str:
    """The summary as text."""
    lines = [f"{'service':<16}{'req/s':>8}{'p50 ms':>9}{'p99 ms':>9}   {ours} ÷ it (min..max)"]
    for name, row in rows.items():
        line = f"{name:<16}{row['per_second']:>8,.0f}{row['p50_ms']:>9.2f}{row['p99_ms']:>9.2f}"
        if "ratio" in row:
            line += f"   {row['ratio']:.2f} ({row['ratio_min']:.2f}..{row['ratio_max']:.2f})"
        lines.append(line)
    return "\n".join(lines)


def as_json(comparison: Comparison) -> str:
    """Everything that was measured, for machines."""
    return json.dumps(
        {
            "summary": summary(comparison),
            "rounds": {
                name: [asdict(result) for result in results] for name, results in comparison.results.items()
            },
            "acknowledged": comparison.acknowledged,
            "problems": comparison.problems,
        },
        indent=2,
    )


def _say(line: str) -> None:
    """Progress, for somebody who watches."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr)
