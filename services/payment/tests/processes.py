"""What tests talk to: our service and both stubs as real processes; and how tests wait for facts."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import httpx
import pytest
from sqlalchemy import RowMapping, make_url

from described import ROOT, check
from forked import run
from payment.core.states import Method, State
from payment.ledger import outbox
from payment.ledger.batch import book
from payment.ledger.idempotency import Key
from payment.ledger.requests import PaymentRequest
from payment.storage.base import Database
from payment.storage.opening import open_database
from ports import free_port
from programs import Process

Fact = TypeVar("Fact")


def wait_for(fact: Callable[[], Fact], within_s: float = 10.0, what: str = "") -> Fact:
    """Return the first truthy result of `fact`; fail if there is none within the time."""
    deadline_s = time.monotonic() + within_s
    pause_s = 0.01
    while True:
        found = fact()
        if found:
            return found
        if time.monotonic() > deadline_s:
            pytest.fail(f"not within {within_s} s: {what or fact}; last: {found!r}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.2, 0.1)  # who looks all the time keeps the others from their work


class HasStates(Protocol):
    """A neighbour of the tests that remembers what it was told."""

    name: str

    def states(self) -> dict[int, str]:
        """Return the newest state of each id that was told."""
        ...


def wait_until_told(
    neighbour: HasStates, target_id: int, status: str = "paid", within_s: float = 10.0
) -> None:
    """Return when the state that the neighbour knows of the order or guest is this one."""
    what = f"{neighbour.name} {target_id}: {status}"
    wait_for(lambda: neighbour.states().get(target_id) == status, within_s, what)


def http_client(url: str = "", timeout_s: float = 15.0, **options: Any) -> httpx.Client:
    """Return a client of services on this machine: no proxy and no TLS, so no CAs (40 ms each) are read."""
    return httpx.Client(base_url=url, timeout=timeout_s, trust_env=False, verify=False, **options)


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


class Service:
    """Our service as a process, with an HTTP client for it. `program` is what is run in its place."""

    def __init__(
        self,
        environment: dict[str, str],
        *arguments: str,
        cwd: Path | None = None,
        powerless: bool = False,
        program: str | Path = "payment",
    ) -> None:
        self.environment = environment
        self._program = program
        self._powerless = powerless
        self.arguments = arguments or ("serve",)
        self._cwd = cwd
        self.process: Process
        self.url = ""
        self.http = http_client()
        self._database: Database | None = None
        self.start()

    def start(self) -> None:
        """Start it (again); returns when it listens."""
        self.process = Process(
            (self._program, self.arguments),
            {"LOG_FORMAT": "json", "PORT": "0"} | self.environment,
            self._cwd,
            powerless=self._powerless,
        )
        if self.arguments[0] == "serve":
            self.url = json.loads(self.process.line_with('"listening"'))["url"]
            self.http.close()
            self.http = http_client(self.url, event_hooks={"response": [check]})
        else:
            self.process.line_with("worker started")

    def kill(self) -> None:
        """SIGKILL it."""
        self._close()
        self.process.kill()

    def stop(self) -> int:
        """SIGTERM it; return the exit code."""
        self._close()
        return self.process.stop()

    def _close(self) -> None:
        self.http.close()
        if self._database:
            self._database.close()
            self._database = None

    def pay(
        self,
        order_id: int,
        user_id: int = 1,
        amount: int = 20_000,
        fields: Mapping[str, Any] | None = None,
        **headers: str,
    ) -> httpx.Response:
        """POST /payments; further fields of the body in `fields`, header names with _ for -."""
        body = {"order_id": order_id, "user_id": user_id, "amount": amount} | dict(fields or {})
        return self.http.post("/payments", json=body, headers=_headers(headers))

    def book(self, order_ids: Iterable[int], user_id: int | None = None) -> None:
        """Book a payment of each order in our database, as the service would, but without HTTP: for many.

        Args:
            order_ids: the orders; each payment has the key `order-N`.
            user_id: the guest of all; None for one whose id is the order's.
        """
        requests = [
            PaymentRequest(
                order_id,
                user_id or order_id,
                20_000,
                Method.CASH,
                key=Key("", "create_payment", f"order-{order_id}", "fingerprint"),
            )
            for order_id in order_ids
        ]
        for first in range(0, len(requests), 100):
            with self._opened().batch() as transaction:
                book(transaction, requests[first : first + 100], time.time_ns() // 1000)

    def settle(self, payment_id: int, status: str, **headers: str) -> httpx.Response:
        """PATCH /payments/{payment_id}."""
        path = f"/payments/{payment_id}"
        return self.http.patch(path, json={"status": status}, headers=_headers(headers))

    def refund(
        self, payment_id: int, fields: Mapping[str, Any] | None = None, **headers: str
    ) -> httpx.Response:
        """POST /payments/{payment_id}/refunds."""
        path = f"/payments/{payment_id}/refunds"
        return self.http.post(path, json=fields or {}, headers=_headers(headers))

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `payment` command with the service's own settings."""
        environment = {"PATH": os.environ["PATH"]} | self.environment
        return run("payment", arguments, env=environment, cwd=self._cwd, timeout_s=60)

    def log(self) -> list[dict[str, Any]]:
        """Return what it has logged so far."""
        return [json.loads(line) for line in self.process.lines if line.startswith("{")]

    def has_told_all(self) -> bool:
        """Say whether no notification waits."""
        return not self._find_notifications(state=State.WAITING, limit=1)

    def notifications(self) -> list[dict[str, Any]]:
        """Return the notifications, newest first."""
        return [dict(row) for row in self._find_notifications(limit=1000)]

    def _find_notifications(self, **which: Any) -> Sequence[RowMapping]:
        with self._opened().read() as connection:
            return outbox.find_notifications(connection, **which)

    def _opened(self) -> Database:
        self._database = self._database or open_database(make_url(self.environment["DATABASE_URL"]))
        return self._database


class Stub:
    """The Order or the User stub as a process."""

    def __init__(self, name: str, count: int = 1_000_000, **environment: str) -> None:
        self.name = name
        self._environment = {f"{name.upper()}_COUNT": str(count), "PORT": str(free_port())} | environment
        self.process: Process
        self.url = ""
        self.start()

    def start(self) -> None:
        """Start it (again, on the same port); what it knew is gone."""
        app = ROOT / "services" / "stubs" / self.name / "app.py"
        self.process = Process((app, ()), self._environment)
        self.url = self.process.line_with(" stub on ").split(" stub on ")[1].strip()
        self._http = http_client(self.url)

    def kill(self) -> None:
        """SIGKILL it."""
        self._http.close()
        self.process.kill()

    def fault(self, **switch: Any) -> None:
        """Switch a misbehaviour on, see services/stubs/README.md."""
        self._http.post("/_stub/faults", json=switch).raise_for_status()

    def faults(self) -> list[dict[str, Any]]:
        """Return the misbehaviours that are on, with what is left of their `times`."""
        faults: list[dict[str, Any]] = self._http.get("/_stub/faults").json()["faults"]
        return faults

    def heal(self) -> None:
        """Switch all misbehaviour off; hanging requests are released."""
        self._http.delete("/_stub/faults").raise_for_status()

    def received(self, target_id: int | None = None) -> list[dict[str, Any]]:
        """Return the PUTs that arrived, in order."""
        parameters = {} if target_id is None else {"id": target_id}
        received: list[dict[str, Any]] = self._http.get("/_stub/received", params=parameters).json()[
            "received"
        ]
        return received

    def states(self) -> dict[int, str]:
        """Return the newest state of each id that was told."""
        states = self._http.get("/_stub/states").json()["states"]
        return {int(target_id): state for target_id, state in states.items()}


def wait_until_all_told(service: Service, within_s: float = 10.0) -> None:
    """Return when no notification waits any more."""
    wait_for(service.has_told_all, within_s, "all told")


def wait_until_settled(service: Service, count: int, within_s: float = 10.0) -> list[dict[str, Any]]:
    """Return the notifications when there are `count` or more, and none waits any more."""

    def found() -> list[dict[str, Any]]:
        rows = service.notifications()
        return rows if len(rows) >= count and all(row["state"] != State.WAITING for row in rows) else []

    return wait_for(found, within_s, f"{count} settled notifications")


class Waiting:
    """Payments that are sent at once, each over a connection of its own, and wait for their answers.

    Args:
        service: whom they are sent to.
        orders: an order each; the key is `order-N`.
    """

    def __init__(self, service: Service, orders: range) -> None:
        self.answers: dict[int, int | str] = {}
        self.slowest_s = 0.0
        self._sent = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._pay, args=(service.url, order)) for order in orders]
        for thread in self._threads:
            thread.start()
        for _ in self._threads:
            assert self._sent.acquire(timeout=20)

    def _pay(self, url: str, order_id: int) -> None:
        def note(event: str, _info: Any) -> None:
            if event == "http11.send_request_body.complete":
                self._sent.release()

        with http_client(url, timeout_s=30) as http:
            http.get("/healthz")  # the connection stands
            began_s = time.monotonic()
            try:
                answer = http.post(
                    "/payments",
                    json={"order_id": order_id, "user_id": 1, "amount": 20_000},
                    headers={"Idempotency-Key": f"order-{order_id}"},
                    extensions={"trace": note},
                )
            except httpx.TransportError as error:
                self.answers[order_id] = type(error).__name__
            else:
                self.answers[order_id] = answer.status_code
            self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)

    def join(self) -> None:
        """Wait until each has its answer."""
        for thread in self._threads:
            thread.join(30)
