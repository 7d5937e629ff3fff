"""The promise under chaos: guests pay while processes and PostgreSQL are killed and the neighbours misbehave.

`make chaos SECONDS=600 SEED=…` runs the real thing on this machine: a PostgreSQL server, both stubs, two API
processes, two workers. In the end every 201 must be booked exactly once, every bill must add up, and both
neighbours must know the newest state of everything. The same seed draws the same decisions; what they hit is
up to the moment.
"""
# ruff: noqa: T201 - it talks to a person on a terminal

import argparse
import logging
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from guests import GUESTS, Agent, Guest, Ledger, total_of
from sqlalchemy import make_url, text

from payment.storage.opening import open_database
from postgres import PostgresServer, create_database
from processes import Service, Stub, wait_for

BLOWS_S = {"api": (6.0, 2.0), "worker": (5.0, 2.0), "postgresql": (25.0, 2.0), "freeze": (10.0, 6.0)}
"""How long there is peace on average between two blows of a kind, and how long one lasts at most.

The first three are killed and started again. A worker that freezes outlives its leases, then goes on.
"""

SETTINGS = {
    "POLL_INTERVAL_S": "0.2",
    "LEASE_S": "2",
    "READ_TIMEOUT_S": "1",
    "RESEND_AFTER_S": "5",  # longer than the longest hang of FAULTS
    "RETRY_INITIAL_S": "0.1",
    "RETRY_MAX_S": "2",
    "CIRCUIT_PROBE_MAX_S": "0.5",
}

# The few that hang are applied late, after what was sent later: an older state over a newer one.
FEW_HANG: dict[str, Any] = {"hang_s": 4, "apply": "after", "times": 20}
FAULTS: Sequence[dict[str, Any]] = (
    FEW_HANG,
    FEW_HANG,
    FEW_HANG,
    FEW_HANG | {"slow_ms": 100},
    {"hang_s": 3, "apply": "before"},
    {"hang_s": 0.5, "apply": "after"},
    {"answer": 500},
    {"answer": 503, "retry_after_s": 1},
    {"answer": 502, "body": "<h1>Bad Gateway</h1>"},
    {"answer": 404, "body": '{"error": "tidak ditemukan"}'},  # not yet known there
    {"drop": "before"},
    {"drop": "after"},
    {"away_s": 2},
)
FAULT_MAX_S = 3.0

REJECTION: dict[str, Any] = {"answer": 400, "hang_s": 0, "times": 8}
REJECTION_S = 1.5
"""Every second fault ends in this: what it left in doubt may be refused, and is dead then.

A few only, and nothing more hangs, so that newer news is heard before what hangs is applied.
"""

END_WITHIN_S = 120.0
"""How long it may take, once all is well, until guests have their 201 and both neighbours their news."""


class Victim(NamedTuple):
    """What can be struck down, and raised again; `lives` is False if it fell by itself."""

    strike: Callable[[], None]
    raise_again: Callable[[], None]
    lives: Callable[[], bool]


class Striker(Agent):
    """Strikes one of its victims down at random moments and raises it again, as a supervisor does.

    Args:
        kind: a key of `BLOWS_S`.
        victims: what it strikes.
        seconds: how long the whole run takes; a short one gets its blows too.
        dice: decides when and whom.
    """

    def __init__(self, kind: str, victims: Sequence[Victim], seconds: float, dice: random.Random) -> None:
        super().__init__(f"striker-{kind}")
        self._victims = victims
        self._dice = dice
        peace_s, self._away_max_s = BLOWS_S[kind]
        self._peace_s = min(peace_s, seconds / 5)
        self.blows = 0

    def run(self) -> None:
        """Strike and raise."""
        while not self._done.wait(self._dice.uniform(0.2, 1.8) * self._peace_s):
            victim = self._dice.choice(self._victims)
            if not victim.lives():
                raise RuntimeError(f"{self.name}: the victim had ended by itself")
            victim.strike()
            self.blows += 1
            self._done.wait(self._dice.uniform(0, self._away_max_s))
            victim.raise_again()


class Mischief(Agent):
    """Lets one neighbour misbehave in one way after another, with pauses."""

    def __init__(self, stub: Stub, dice: random.Random) -> None:
        super().__init__(f"mischief-{stub.name}")
        self._stub = stub
        self._dice = dice
        self.faults = 0

    def run(self) -> None:
        """Misbehave, now and then."""
        while not self._done.wait(self._dice.uniform(0.5, 5)):
            fault = self._dice.choice(FAULTS)
            self._stub.fault(**fault)
            self.faults += 1
            self._done.wait(self._dice.uniform(0.2, FAULT_MAX_S))
            if self.faults % 2 == 0:
                self._until_heard(partial(self._stub.fault, **REJECTION))
                self._done.wait(REJECTION_S)
                while not (self._has_rejected() or self._done.wait(0.1)):
                    pass
            # to be well lets all go on that hangs, so those that shall be late need their time
            self._done.wait(fault["hang_s"] if "times" in fault else 0)
            self._until_heard(self._stub.heal)

    def _has_rejected(self) -> bool:
        return {"answer": REJECTION["answer"], "times": REJECTION["times"]} not in self._stub.faults()

    def _until_heard(self, switch: Callable[[], None]) -> None:
        def heard() -> bool:
            try:
                switch()
            except httpx.TransportError:  # it is away
                return False
            return True

        wait_for(heard, what=f"{self._stub.name} is back")


def until_started(start: Callable[[], None], clean_up: Callable[[], None] = lambda: None) -> None:
    """Start it, again and again while what it needs is dead too."""
    deadline_s = time.monotonic() + 60
    while True:
        try:
            start()
        except (pytest.fail.Exception, RuntimeError):
            clean_up()
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.2)
        else:
            return


def send(service: Service, number: signal.Signals) -> None:
    """Send a signal to whatever process the service is now."""
    service.process.send_signal(number)


def lives(service: Service) -> bool:
    """Say whether the service's process has not ended."""
    return service.process.poll() is None


def always() -> bool:
    """Say yes."""
    return True


class Stack:
    """Everything that runs."""

    def __init__(self, end: ExitStack) -> None:
        folder = Path(end.enter_context(tempfile.TemporaryDirectory(prefix="payment-chaos-")))
        self.postgres = PostgresServer()
        end.callback(self.postgres.remove)
        url = create_database(self.postgres.url, "payment").render_as_string(hide_password=False)
        self.database = open_database(make_url(url))
        end.callback(self.database.close)
        self.database.migrate()
        self.stubs = [Stub("order"), Stub("user")]
        for stub in self.stubs:
            end.callback(stub.kill)
        self._environment = SETTINGS | {
            "DATABASE_URL": url,
            "ORDER_SERVICE_URL": self.stubs[0].url,
            "USER_SERVICE_URL": self.stubs[1].url,
        }
        self.apis = [self._service(end, folder, "serve", "--no-worker") for _ in range(2)]
        self.workers = [self._service(end, folder, "worker") for _ in range(2)]

    def _service(self, end: ExitStack, folder: Path, *arguments: str) -> Service:
        service = Service(self._environment, *arguments, cwd=folder)
        end.callback(service.kill)
        return service

    def victims(self, kind: str) -> list[Victim]:
        """Return what a kind of blow may strike."""
        if kind == "postgresql":
            start = partial(until_started, self.postgres.start)
            return [Victim(self.postgres.kill, start, always)]
        if kind == "freeze":
            return [
                Victim(partial(send, service, signal.SIGSTOP), partial(send, service, signal.SIGCONT), always)
                for service in self.workers
            ]
        return [
            Victim(service.kill, partial(until_started, service.start, service.kill), partial(lives, service))
            for service in (self.apis if kind == "api" else self.workers)
        ]

    def settled(self) -> bool:
        """Say whether nothing is to be told any more and nobody is telling."""
        return not self.rows(
            "SELECT target_id FROM notifications WHERE state = 'waiting'"
            " UNION ALL SELECT target_id FROM leases LIMIT 1"
        )

    def dead(self) -> int:
        """Return how many notifications were given up."""
        return len(self.rows("SELECT id FROM notifications WHERE state = 'dead'"))

    def send_dead_again(self) -> None:
        """Send what was given up once more, as an operator does who has mended the cause."""
        done = self.apis[0].cli("notifications", "retry", "--all-dead")
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        with self.database.read() as connection:
            return [tuple(row) for row in connection.execute(text(query))]


@dataclass(frozen=True)
class Verdict:
    """How many payments there are, of how many bills that have several, and what must not be: all 0."""

    payments: int
    shared: int
    lost: int
    doubled: int
    overpaid: int
    dead: int
    stale: int
    wrong: int

    @property
    def is_good(self) -> bool:
        """Say whether the promise was kept."""
        return not (self.lost or self.doubled or self.overpaid or self.dead or self.stale or self.wrong)


SHARED_BILLS = """
    SELECT order_id FROM payments WHERE status IN ('paid', 'pending') GROUP BY order_id HAVING count(*) > 1
"""


def judge(stack: Stack, ledgers: Sequence[Ledger], stale: Collection[tuple[str, int]]) -> Verdict:
    """Compare what the guests and the database know; what the neighbours know was looked at before."""
    acknowledged = {
        (payment_id, item.order_id, item.amount, total_of(item.offer.body), item.status, item.refunded)
        for ledger in ledgers
        for payment_id, item in ledger.payments.items()
    }
    booked = set(
        stack.rows(
            "SELECT id, order_id, amount, total, status, amount_refunded"
            " FROM payments JOIN bills USING (order_id)"
        )
    )
    acknowledged_refunds = {
        (refund_id, *refund) for ledger in ledgers for refund_id, refund in ledger.refunds.items()
    }
    refunds = set(stack.rows("SELECT id, payment_id, amount FROM refunds"))
    late = {payment_id for ledger in ledgers for payment_id in ledger.late}
    kept = {row[0] for row in stack.rows("SELECT payment_id FROM late_money WHERE resolution IS NULL")}
    late_listed = {row[0] for row in stack.rows("SELECT id FROM payments WHERE late")}
    given_back = stack.rows(
        "SELECT amount_refunded - coalesce(sum(refunds.amount), 0) FROM payments"
        " LEFT JOIN refunds ON payment_id = payments.id GROUP BY payments.id"
    )
    overpaid = stack.rows(
        "SELECT order_id FROM bills LEFT JOIN"
        " (SELECT order_id, sum(amount) FILTER (WHERE status = 'paid') AS paid,"
        "  sum(amount) FILTER (WHERE status = 'pending') AS pending,"
        "  sum(amount_refunded) FILTER (WHERE status = 'paid') AS refunded FROM payments GROUP BY order_id)"
        " AS booked"
        " USING (order_id) WHERE bills.paid + bills.pending > total"
        " OR bills.paid <> coalesce(booked.paid, 0) OR bills.pending <> coalesce(booked.pending, 0)"
        " OR bills.refunded <> coalesce(booked.refunded, 0)"
    )
    wrong = [line for ledger in ledgers for line in ledger.wrong]
    for what, found in (
        ("wrong", wrong),
        ("payment differs", acknowledged ^ booked),
        ("refund differs", acknowledged_refunds ^ refunds),
        ("late money differs", (late ^ kept) | (late ^ late_listed)),
        ("bill does not add up", overpaid),
    ):
        for each in found:
            print(f"{what}: {each}", file=sys.stderr)
    return Verdict(
        payments=len(booked),
        shared=len(stack.rows(SHARED_BILLS)),
        lost=len(acknowledged - booked)
        + len(acknowledged_refunds - refunds)
        + len(late - (kept & late_listed))
        + sum(missing > 0 for (missing,) in given_back),
        doubled=len({row[0] for row in booked} - {row[0] for row in acknowledged})
        + len({row[0] for row in refunds} - {row[0] for row in acknowledged_refunds})
        + sum(missing < 0 for (missing,) in given_back),
        overpaid=len(overpaid),
        dead=stack.dead(),
        stale=len(stale),
        wrong=len(wrong),
    )


def find_stale(stack: Stack) -> set[tuple[str, int]]:
    """Return, and print, who was told an older state, and that was not because the newest news is dead."""
    newest = {
        "order": dict(
            stack.rows(
                "SELECT order_id, CASE WHEN paid >= total THEN 'paid'"
                " WHEN paid + pending > 0 THEN 'pending' ELSE 'failed' END FROM bills"
            )
        ),
        "user": dict(
            stack.rows(
                "SELECT DISTINCT ON (user_id) user_id, replace(status, 'refunded', 'failed')"
                " FROM payments ORDER BY user_id, id DESC"
            )
        ),
    }
    rejected = set(
        stack.rows(
            "SELECT service, target_id FROM notifications AS dead WHERE state = 'dead' AND NOT EXISTS"
            " (SELECT 1 FROM notifications AS newer WHERE newer.service = dead.service"
            "  AND newer.target_id = dead.target_id AND newer.id > dead.id)"
        )
    )
    stale = set()
    for stub in stack.stubs:
        known = stub.states()
        for target_id in newest[stub.name].keys() | known.keys():
            expected, told = newest[stub.name].get(target_id), known.get(target_id)
            if expected != told and (stub.name, target_id) not in rejected:
                stale.add((stub.name, target_id))
                print(f"stale: {stub.name} {target_id} is {expected}, was told {told}", file=sys.stderr)
                tell_how_it_came(stack, stub, target_id)
    return stale


def tell_how_it_came(stack: Stack, stub: Stub, target_id: int) -> None:
    """Print what a neighbour got for an id, and its notifications, to find out why it is stale."""
    for put in stub.received(target_id):
        print(f"  PUT at {put['at']:.3f} {put['status']} applied={put['applied']}", file=sys.stderr)
    with stack.database.read() as connection:
        query = "SELECT * FROM notifications WHERE service = :service AND target_id = :target_id ORDER BY id"
        named = {"service": stub.name, "target_id": target_id}
        for row in connection.execute(text(query), named).mappings():
            print("  " + " ".join(f"{name}={value}" for name, value in row.items() if value), file=sys.stderr)


def run(seconds: float, seed: int) -> bool:
    """Let chaos reign for so long; print one line of figures and return whether the promise was kept."""
    with ExitStack() as end:
        stack = Stack(end)
        guests = [Guest(n, seed, stack.apis) for n in range(1, GUESTS + 1)]
        strikers = {
            kind: Striker(kind, stack.victims(kind), seconds, random.Random(f"{seed}-{kind}"))
            for kind in BLOWS_S
        }
        mischiefs = [Mischief(stub, random.Random(f"{seed}-{stub.name}")) for stub in stack.stubs]
        agents: list[Agent] = [*strikers.values(), *mischiefs, *guests]
        began_s = time.monotonic()
        for agent in agents:
            agent.start()
        while (left_s := began_s + seconds - time.monotonic()) > 0:
            time.sleep(min(left_s, 0.5))
            if fallen := [agent.name for agent in agents if not agent.is_alive()]:
                print(f"fell: {', '.join(fallen)}; see above", file=sys.stderr)
                return False
        for some in (agents[:-GUESTS], guests):  # guests get their 201 at the latest when all is well
            for agent in some:
                agent.finish()
            for agent in some:
                agent.join(END_WITHIN_S)
        if stuck := [agent.name for agent in agents if agent.is_alive()]:
            print(f"stuck: {', '.join(stuck)}", file=sys.stderr)
            return False
        wait_for(stack.settled, END_WITHIN_S, "nothing is to be told any more")
        stale = find_stale(stack)  # what was told after a rejection must be true without any help
        rejected = stack.dead()
        stack.send_dead_again()
        wait_for(stack.settled, END_WITHIN_S, "the rejected are told too")
        stale |= find_stale(stack)
        ledgers = [guest.ledger for guest in guests]
        verdict = judge(stack, ledgers, stale)
        answers = Counter(kind for ledger in ledgers for kind, _ in ledger.answers)
        figures: dict[str, Any] = {
            "seconds": round(time.monotonic() - began_s),
            "payments": verdict.payments,
            "shared": verdict.shared,
            "settled": sum(ledger.settled for ledger in ledgers),
            "refunds": sum(len(ledger.refunds) for ledger in ledgers),
            "late": sum(len(ledger.late) for ledger in ledgers),
            **{
                "freezes" if kind == "freeze" else f"kills_{kind}": striker.blows
                for kind, striker in strikers.items()
            },
            "faults": sum(mischief.faults for mischief in mischiefs),
            "puts": sum(len(stub.received()) for stub in stack.stubs),
            **{f"answers_{kind.replace(' ', '_')}": count for kind, count in sorted(answers.items())},
            "slowest_s": round(max(took_s for ledger in ledgers for _, took_s in ledger.answers), 1),
            "rejected": rejected,
            "lost": verdict.lost,
            "doubled": verdict.doubled,
            "overpaid": verdict.overpaid,
            "dead": verdict.dead,
            "stale": verdict.stale,
            "wrong_answers": verdict.wrong,
        }
        print(" ".join(f"{name}={value}" for name, value in figures.items()))
    return verdict.is_good


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="kill, break, and see whether every promise is kept")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=None, help="repeats the decisions of a run")
    arguments = parser.parse_args()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    print(f"SEED={seed}", flush=True)
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # that connections are lost is no news here
    return 0 if run(arguments.seconds, seed) else 1


if __name__ == "__main__":
    sys.exit(main())
