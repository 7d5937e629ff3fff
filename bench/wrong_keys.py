"""Wrong API keys: what a thousand a second cost a client with a good one, and what their times give away.

    python -m bench.wrong_keys [--rounds 5] [--seconds 4] [--rate 1000] [--samples 400] [--sqlite] [--json]

One client with a good key reads a payment and pays, alone and beside the wrong keys, in turn. Then each kind
of wrong key is timed, a request at a time, the kinds in random order, while nothing else comes.
"""

import argparse
import asyncio
import contextlib
import http.client
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from sqlalchemy import URL

from bench.compare import say
from bench.databases import migrated, postgres_database, postgres_server, sqlite_database, text_of
from bench.load import LoadResult, percentile, run_load
from bench.servers import Running, payment, running
from payment.core.cause import Cause
from payment.ledger.keys import NewKey, create_key, revoke_key
from payment.storage.opening import open_database

RATIO_MAX = 1.5
CONNECTIONS = 200
"""Of the wrong keys: 64 wait for up to a tenth of a second, and none is to wait for a connection."""
TICK_S = 0.005
PAYMENT = '{"order_id": %d, "user_id": 1, "amount": 20000}'
KINDS = ("unknown", "malformed", "revoked", "expired")


@dataclass(frozen=True, slots=True)
class Authorized:
    """Requests that bring a key: one that reads payment 1 again and again, or pays order after order."""

    key: str
    first_order_id: int | None = None
    """None reads."""

    @property
    def expected_status(self) -> int:
        """What a good key gets."""
        return 200 if self.first_order_id is None else 201

    def __call__(self, n: int) -> bytes:
        """The bytes of request number n."""
        head = f"Host: localhost\r\nAuthorization: Bearer {self.key}\r\n"
        if self.first_order_id is None:
            return f"GET /payments/1 HTTP/1.1\r\n{head}\r\n".encode()
        body = PAYMENT % (self.first_order_id + n)
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return f"POST /payments HTTP/1.1\r\n{head}\r\n{body}".encode()


def main() -> int:
    """The command; 0, or 2 if a goal is missed or what was seen does not count."""
    parser = argparse.ArgumentParser(prog="python -m bench.wrong_keys", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a run")
    parser.add_argument("--rate", type=int, default=1000, help="wrong keys a second")
    parser.add_argument("--samples", type=int, default=400, help="of each kind of wrong key")
    parser.add_argument("--sqlite", action="store_true", help="in place of PostgreSQL")
    parser.add_argument("--json", action="store_true", help="what was measured as JSON")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, _database(Path(name), chosen.sqlite) as url:
        good, wrong = _keys(url)
        ours = payment("--no-worker", DATABASE_URL=text_of(url), AUTH="keys")
        with running(ours, Path(name)) as service:
            _load(service, Authorized(good, 1), 0.5)  # there is a payment to read
            loads = _loads(service, good, wrong["unknown"], chosen.rounds, chosen.seconds, chosen.rate)
            times = _times(service, wrong, chosen.samples)
    if chosen.json:
        print(json.dumps({"loads": loads, "times_ms": times}, indent=2))
    missed = False
    for what, figures in loads.items():
        missed |= figures["p50 ratio"] > RATIO_MAX or figures["throughput ratio"] > RATIO_MAX
        said = ", ".join(f"{name} {figure:.2f}" for name, figure in figures.items())
        print(f"{what}: {said} (goal: ratios ≤ {RATIO_MAX})")
    print("time of a wrong key, ms       median   p10 to p90      of")
    for kind, each in times.items():
        low, high = percentile(sorted(each), 10), percentile(sorted(each), 90)
        print(f"  {kind:24} {statistics.median(each):9.2f}   {low:.2f} to {high:.2f}  {len(each)}")
    return 2 if missed else 0


@contextlib.contextmanager
def _database(directory: Path, is_sqlite: bool) -> Iterator[URL]:  # noqa: FBT001  # an option
    if is_sqlite:
        yield migrated(sqlite_database(directory, "wrong_keys"))
        return
    with postgres_server() as server:
        yield migrated(postgres_database(server, "wrong_keys"))


def _keys(url: URL) -> tuple[str, dict[str, str]]:
    """A good key, and one of each kind that is not."""
    database = open_database(url)
    now_us = time.time_ns() // 1000
    with database.write() as connection:
        asked = NewKey("bench", ["payments:read", "payments:write"])
        good, revoked = (create_key(connection, asked, Cause(), now_us) for _ in range(2))
        expired = create_key(connection, NewKey("bench", asked.scopes, now_us - 1), Cause(), now_us - 2)
        revoke_key(connection, revoked.row["id"], Cause(), now_us)
    database.close()
    return good.text, {
        "unknown": f"pk_00000000_{good.text.rpartition('_')[2]}",
        "malformed": f"pk-00000000-{good.text.rpartition('_')[2]}",
        "revoked": revoked.text,
        "expired": expired.text,
    }


def _loads(
    service: Running, good: str, wrong: str, rounds: int, seconds: float, rate: int
) -> dict[str, dict[str, float]]:
    """The good client's figures alone and beside wrong keys, median of the rounds."""
    seen: dict[str, dict[str, list[LoadResult]]] = {}
    orders = iter(range(1_000_000, 10**12, 1_000_000))
    for round_number in range(rounds + 1):
        for what in ("GET /payments/1", "POST /payments"):
            for beside in ("alone", "beside"):
                requests = Authorized(good, next(orders) if what.startswith("POST") else None)
                with _wrong_keys(service, wrong, rate if beside == "beside" else 0, seconds):
                    result = _load(service, requests, seconds)
                if round_number:  # the first warms up
                    seen.setdefault(what, {}).setdefault(beside, []).append(result)
                say(f"{what} {beside}: p50 {result.p50_ms:.2f} ms, {result.per_second:,.0f}/s")
    return {what: _figures(each["alone"], each["beside"]) for what, each in seen.items()}


def _load(service: Running, requests: Authorized, seconds: float) -> LoadResult:
    result = run_load(service.host, service.port, requests, duration_s=seconds, connections=1)
    if not result.valid:
        raise SystemExit(f"INVALID: wanted only {result.expected_status}, got {result.statuses}")
    return result


def _figures(alone: Sequence[LoadResult], beside: Sequence[LoadResult]) -> dict[str, float]:
    p50 = [statistics.median(result.p50_ms for result in of) for of in (alone, beside)]
    rates = [statistics.median(result.per_second for result in of) for of in (alone, beside)]
    return {
        "p50 alone ms": p50[0],
        "p50 beside ms": p50[1],
        "p50 ratio": p50[1] / p50[0],
        "alone/s": rates[0],
        "beside/s": rates[1],
        "throughput ratio": rates[0] / rates[1],
    }


@contextlib.contextmanager
def _wrong_keys(service: Running, key: str, rate: int, seconds: float) -> Iterator[None]:
    """Send wrong keys at this rate from a process of its own while the block lasts, and a little before."""
    if rate == 0:
        yield
        return
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as executor:
        sent = executor.submit(_send, service.host, service.port, key, rate, seconds + 3)
        time.sleep(2)  # the process starts
        yield
        statuses, per_second = sent.result()
    if set(statuses) != {401} or per_second < 0.95 * rate:
        raise SystemExit(f"INVALID: the wrong keys got {dict(statuses)}, {per_second:.0f} a second")


def _send(host: str, port: int, key: str, rate: int, seconds: float) -> tuple[Counter[int], float]:
    return asyncio.run(_send_at(host, port, key, rate, seconds))


async def _send_at(host: str, port: int, key: str, rate: int, seconds: float) -> tuple[Counter[int], float]:
    """Send at a steady rate, whether or not the answers come as fast."""
    request = f"GET /payments/1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    opened = [await asyncio.open_connection(host, port) for _ in range(CONNECTIONS)]
    idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for connection in opened:
        idle.put_nowait(connection)
    statuses: Counter[int] = Counter()

    async def ask() -> None:
        reader, writer = await idle.get()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        statuses[int(head[9:12])] += 1
        idle.put_nowait((reader, writer))

    began_s, sent = time.monotonic(), 0
    tasks: set[asyncio.Task[None]] = set()
    while (passed_s := time.monotonic() - began_s) < seconds:
        for _ in range(int(passed_s * rate) - sent):
            task = asyncio.create_task(ask())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        await asyncio.sleep(TICK_S)
    await asyncio.gather(*tasks)
    per_second = statuses.total() / (time.monotonic() - began_s)
    for _, writer in opened:
        writer.close()
    return statuses, per_second


def _times(service: Running, wrong: dict[str, str], samples: int) -> dict[str, list[float]]:
    """How long each kind of wrong key takes, milliseconds; the kinds in random order."""
    dice = random.Random(7)
    kinds = list(KINDS) * samples
    dice.shuffle(kinds)
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    connection = http.client.HTTPConnection(service.host, service.port, timeout=30)
    for kind in kinds:
        began_s = time.perf_counter()
        connection.request("GET", "/payments/1", headers={"Authorization": f"Bearer {wrong[kind]}"})
        answer = connection.getresponse()
        answer.read()
        times[kind].append((time.perf_counter() - began_s) * 1000)
        if answer.status != 401:
            raise SystemExit(f"INVALID: {kind} got {answer.status}")
    connection.close()
    return times


if __name__ == "__main__":
    sys.exit(main())
