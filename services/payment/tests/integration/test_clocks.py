"""Clocks that are set while processes run, or while none does: news waits for nobody's clock."""

import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import make_url, update

from payment.storage.opening import open_database
from payment.storage.tables import leases, notifications
from processes import Service, Stub, http_client, wait_for, wait_until_settled, wait_until_told
from programs import Process

Start = Callable[..., Service]
HOUR_S = 3600
HOUR_US = HOUR_S * 1_000_000

CLOCK = """
import itertools, os, signal, sys, time
steps_ns = iter([int(each) * 10**9 for each in sys.argv[1].split(",")])
sys.argv = ["payment", *sys.argv[2:]]
ahead_ns, present_ns = 0, time.time_ns
def set_clock(*_):
    global ahead_ns
    ahead_ns += next(steps_ns)
    os.write(2, b"the clock was set\\n")
signal.signal(signal.SIGUSR1, set_clock)
time.time_ns = lambda: present_ns() + ahead_ns
time.time = lambda: time.time_ns() / 1e9
from payment.cli.program import main
main()
"""
"""A Python program: `payment` with a clock that each SIGUSR1 sets on, or back, by so many seconds."""


class Clocked(Service):
    """A service whose clock can be set: first back by an hour, then on again."""

    def start(self) -> None:
        """Start it; returns when it listens."""
        inherited = {"PATH": os.environ["PATH"], "PORT": "0", "LOG_FORMAT": "json"}
        program = [sys.executable, "-c", CLOCK, f"-{HOUR_S},{HOUR_S}", *self.arguments]
        self.process = Process(program, inherited | self.environment, self._cwd)
        self.url = json.loads(self.process.line_with('"listening"'))["url"]
        self.http = http_client(self.url)

    def set_clock(self) -> None:
        """Set the clock by the next step."""
        self.process.send_signal(signal.SIGUSR1)
        self.process.line_with("the clock was set")


def test_a_clock_that_is_set_back_by_an_hour_and_on_again_holds_nothing_up(
    end: ExitStack, order: Stub, user: Stub, database_url: str, tmp_path: Path
) -> None:
    """In the middle of an outage, with a PUT that hangs, news that waits and an open circuit."""
    environment = {
        "DATABASE_URL": database_url,
        "ORDER_SERVICE_URL": order.url,
        "USER_SERVICE_URL": user.url,
        "POLL_INTERVAL_S": "0.2",
        "RETRY_INITIAL_S": "0.1",
        "LEASE_S": "2",
        "READ_TIMEOUT_S": "4",
        "RESEND_AFTER_S": "1",
    }
    service = Clocked(environment, cwd=tmp_path)
    end.callback(service.kill)
    order.fault(answer=503)
    service.pay(1)
    wait_for(lambda: any("circuit opened" in line for line in service.process.lines) or order.received(1))
    for order_id in (2, 4):
        service.set_clock()
        service.pay(order_id)
        order.heal()
        order.fault(hang_s=1, apply="after", times=1)
        service.pay(order_id + 1)
        for each in (1, order_id, order_id + 1):
            wait_until_told(order, each, within_s=60)
        order.fault(answer=503)
        service.pay(order_id + 10)
    order.heal()
    for each in (12, 14):
        wait_until_told(order, each, within_s=60)
    rows = wait_until_settled(service, 14)
    assert {row["state"] for row in rows} <= {"delivered", "superseded"}


def test_what_a_worker_left_that_died_before_the_clock_was_set_back_is_told(
    start: Start, order: Stub, database_url: str
) -> None:
    """Its lease and its news are of a time that comes in an hour."""
    service = start("serve", "--no-worker")
    worker = start("worker", READ_TIMEOUT_S="60")
    order.fault(hang_s=60, times=1)
    service.pay(1)
    wait_for(lambda: order.received(1), what="the PUT that hangs")
    worker.kill()
    for order_id in (2, 3):
        service.pay(order_id)
    database = open_database(make_url(database_url))
    with database.write() as connection:
        ahead = leases.c.until_us + HOUR_US
        assert connection.execute(update(leases).values(until_us=ahead)).rowcount >= 1
        columns = ("created_us", "due_since_us", "next_attempt_us")
        moved = {name: notifications.c[name] + HOUR_US for name in columns}
        connection.execute(update(notifications).values(moved))
    database.close()
    order.heal()
    start("worker")
    for order_id in (1, 2, 3):
        wait_until_told(order, order_id, within_s=25)
