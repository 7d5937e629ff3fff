"""How long after a 201 Order and User are told, while everything is well.

python -m bench.told [--payments 200] [--rate 50] [--json]
"""

import argparse
import contextlib
import json
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

from bench.load import percentile
from bench.servers import Running, ServerError, call, payment, running, stub

CLIENTS = 16
LATEST_S = 1.0
"""A payment that is posted later than this after its turn means that the rate was not kept."""

WAIT_FOR_LAST_S = 60.0
POLL_EVERY_S = 0.5


class ToldError(Exception):
    """A payment was refused, or a service was never told of one."""


def measure(payments: int, rate: float, directory: Path) -> dict[str, list[float]]:
    """Seconds from 201 to told, ascending: of Order, of User, and of the later of the two."""
    with contextlib.ExitStack() as stack:
        order = stack.enter_context(running(stub("order"), directory))
        user = stack.enter_context(running(stub("user"), directory))
        ours = payment(
            DATABASE_URL=f"sqlite:///{directory / 'payment.db'}",
            ORDER_SERVICE_URL=order.url,
            USER_SERVICE_URL=user.url,
        )
        service = stack.enter_context(running(ours, directory))
        accepted_at = post_steadily(service, payments, rate)
        order_told_at = wait_until_told(order, set(accepted_at))
        user_told_at = wait_until_told(user, set(accepted_at))
    waits = {
        "order": [order_told_at[n] - at for n, at in accepted_at.items()],
        "user": [user_told_at[n] - at for n, at in accepted_at.items()],
        "both": [max(order_told_at[n], user_told_at[n]) - at for n, at in accepted_at.items()],
    }
    return {name: sorted(max(0.0, wait) for wait in of) for name, of in waits.items()}


def post_steadily(service: Running, payments: int, rate: float) -> dict[int, float]:
    """Post payment n of order n by user n at n / rate seconds; when each was answered 201."""
    accepted_at: dict[int, float] = {}
    mine = threading.local()
    start_at = time.monotonic() + 0.1

    def post(n: int) -> None:
        early_s = start_at + n / rate - time.monotonic()
        if early_s < -LATEST_S:
            raise ToldError(f"payment {n} was {-early_s:.1f} s late: the rate was not kept")
        time.sleep(max(0.0, early_s))
        if not hasattr(mine, "connection"):
            mine.connection = HTTPConnection(service.host, service.port, timeout=30)
        body = json.dumps({"order_id": n, "user_id": n, "amount": 20_000})
        headers = {"Content-Type": "application/json"}
        mine.connection.request("POST", "/payments", body, headers)
        response = mine.connection.getresponse()
        now = time.time()
        answer = response.read()
        if response.status != 201:
            raise ToldError(f"payment {n} was answered {response.status} {answer!r}")
        accepted_at[n] = now

    with ThreadPoolExecutor(CLIENTS) as clients:
        for posted in [clients.submit(post, n) for n in range(1, payments + 1)]:
            posted.result()
    return accepted_at


def wait_until_told(service: Running, ids: set[int]) -> dict[int, float]:
    """When the stub first received `paid` for each of `ids`, in seconds since the epoch."""
    give_up_at = time.monotonic() + WAIT_FOR_LAST_S
    while True:
        _, answer = call(service, "GET", "/_stub/received")
        told_at: dict[int, float] = {}
        received = answer["received"]
        assert isinstance(received, list)
        for put in received:
            if put["status"] == "paid" and put["applied"]:
                told_at.setdefault(int(put["id"]), float(put["at"]))
        missing = ids - told_at.keys()
        if not missing:
            return told_at
        if time.monotonic() > give_up_at:
            raise ToldError(f"{service.name} was never told of {len(missing)} of {len(ids)}")
        time.sleep(POLL_EVERY_S)


def main() -> int:
    """The command; 0, or 2 when a payment was refused or not told."""
    parser = argparse.ArgumentParser(prog="python -m bench.told", description=__doc__)
    parser.add_argument("--payments", type=int, default=200)
    parser.add_argument("--rate", type=float, default=50.0, help="payments per second")
    parser.add_argument("--json", action="store_true", help="milliseconds, as JSON")
    chosen = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        try:
            waits_s = measure(chosen.payments, chosen.rate, Path(name))
        except (ServerError, ToldError) as error:
            print(error, file=sys.stderr)
            return 2
    rows = {
        name: {
            "p50_ms": percentile(of, 50) * 1000,
            "p99_ms": percentile(of, 99) * 1000,
            "max_ms": of[-1] * 1000,
        }
        for name, of in waits_s.items()
    }
    if chosen.json:
        print(json.dumps({"payments": chosen.payments, "rate": chosen.rate, **rows}, indent=2))
        return 0
    print(f"From 201 to told, {chosen.payments} payments at {chosen.rate:g} per second")
    print(f"{'service':<8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
    for name, row in rows.items():
        print(f"{name:<8}{row['p50_ms']:>9.1f}{row['p99_ms']:>9.1f}{row['max_ms']:>9.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
