"""The Compose project as its operator handles it, and its containers as the engine sees them."""

import os
import subprocess
from collections.abc import Iterable
from typing import Any

import httpx
import pytest

from described import ROOT, check
from processes import wait_for

PROJECT = "payment-e2e"
PASSWORD = "rahasia-basis-data"
PORTS = {"PAYMENT_PORT": "15004", "ORDER_PORT": "15003", "USER_PORT": "15001"}
NEIGHBOURS = {"order": "ORDER_PORT", "user": "USER_PORT"}
ALL = {"postgres", "migrate", "port", "api", "worker", "order", "user"}

TOLD_WITHIN_S = 2.0
"""The objective, while all is well."""
BACK_WITHIN_S = 60.0
"""A container that crashed, with the engine's pauses between restarts."""
TAKEN_OVER_WITHIN_S = 60.0
"""What a killed worker had in hand: its lease of 30 s, then a turn of another worker."""
SETTLED_WITHIN_S = 150.0
"""That lease, then the newest state once more after another 60 s."""

Containers = list[Any]


def _environment() -> dict[str, str]:
    """Nothing of the caller's but the way to the engine: not the settings in his shell, nor those in .env."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in {"PATH", "HOME", "LANG"} or name.startswith("DOCKER_")
    }
    counts = {"ORDER_COUNT": "1000000", "USER_COUNT": "1000000"}
    own = {"COMPOSE_PROJECT_NAME": PROJECT, "POSTGRES_PASSWORD": PASSWORD}
    compose = {"COMPOSE_DISABLE_ENV_FILE": "1", "COMPOSE_ANSI": "never"}
    return inherited | compose | own | counts | PORTS


def run(*command: str) -> str:
    """Run a command at the root of the repository; return its output, fail if it fails."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


class Stack:
    """The Compose project: how an operator handles it, how a client sees it, what is in its database."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.payment = httpx.Client(
            base_url=f"http://127.0.0.1:{PORTS['PAYMENT_PORT']}",
            trust_env=False,
            timeout=20,
            event_hooks={"response": [check]},
        )
        self._neighbours = {
            name: httpx.Client(base_url=f"http://127.0.0.1:{PORTS[port]}", trust_env=False, timeout=20)
            for name, port in NEIGHBOURS.items()
        }

    def close(self) -> None:
        """Close the clients."""
        for client in (self.payment, *self._neighbours.values()):
            client.close()

    def make(self, target: str, *variables: str) -> str:
        """Run a target of the Makefile; return its output."""
        return run("make", target, *variables)

    def compose(self, *arguments: str) -> str:
        """Run `docker compose`; return its output."""
        return run("docker", "compose", *arguments)

    def containers(self, service: str = "") -> Containers:
        """Return the containers of a service or of all, also those that do not run."""
        labels = [f"com.docker.compose.project={PROJECT}"]
        if service:
            labels.append(f"com.docker.compose.service={service}")
        found: Containers = self.engine.containers.list(all=True, filters={"label": labels})
        return sorted(found, key=lambda container: str(container.name))

    def container(self, service: str) -> Any:
        """Return the one container of a service."""
        (found,) = self.containers(service)
        return found

    def what_is_left(self) -> dict[str, list[str]]:
        """Return the names of all that the project has on the engine, by kind."""
        mine: dict[str, Any] = {"filters": {"label": f"com.docker.compose.project={PROJECT}"}}
        return {
            "containers": [container.name for container in self.containers()],
            "networks": [network.name for network in self.engine.networks.list(**mine)],
            "volumes": [volume.name for volume in self.engine.volumes.list(**mine)],
        }

    def pay(self, order_id: int, **headers: str) -> httpx.Response:
        """POST /payments for the order, by the user of the same id; header names with _ for -."""
        return self.payment.post(
            "/payments",
            json={"order_id": order_id, "user_id": order_id, "amount": 20_000},
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    def fault(self, neighbour: str, **switch: Any) -> None:
        """Switch a misbehaviour on, see services/stubs/README.md."""
        self._neighbours[neighbour].post("/_stub/faults", json=switch).raise_for_status()

    def heal(self, neighbour: str) -> None:
        """Switch all misbehaviour off."""
        self._neighbours[neighbour].delete("/_stub/faults").raise_for_status()

    def told(self, neighbour: str) -> dict[int, str]:
        """Return the newest state of each id that the neighbour was told."""
        states = self._neighbours[neighbour].get("/_stub/states").raise_for_status().json()["states"]
        return {int(target_id): state for target_id, state in states.items()}

    def wait_until_told(self, neighbour: str, order_ids: Iterable[int], within_s: float) -> None:
        """Return when the neighbour knows these to be paid; fail if it knows anything else."""
        paid = dict.fromkeys(order_ids, "paid")
        wait_for(
            lambda: self.told(neighbour).keys() >= paid.keys(), within_s, f"{neighbour} knows {len(paid)}"
        )
        assert self.told(neighbour) == paid

    def received(self, neighbour: str) -> list[dict[str, Any]]:
        """Return the PUTs that arrived at the neighbour, in order."""
        answer = self._neighbours[neighbour].get("/_stub/received").raise_for_status()
        received: list[dict[str, Any]] = answer.json()["received"]
        return received

    def sql(self, query: str) -> list[list[str]]:
        """Return the rows of a query, each value as text."""
        command = ["psql", "-U", "payment", "-d", "payment", "-At", "-F", ",", "-c", query]
        code, output = self.container("postgres").exec_run(command)
        assert code == 0, output
        return [line.split(",") for line in output.decode().splitlines()]

    def count(self, rows: str) -> int:
        """Return how many rows there are: `payments`, `bills WHERE …`."""
        return int(self.sql(f"SELECT count(*) FROM {rows}")[0][0])


def state_of(container: Any) -> dict[str, Any]:
    """Return the engine's present view of a container's state."""
    container.reload()
    state: dict[str, Any] = container.attrs["State"]
    return state


def is_healthy(container: Any) -> bool:
    state = state_of(container)
    return bool(state["Status"] == "running" and state["Health"]["Status"] == "healthy")


def restarts(container: Any) -> int:
    """Return how often the engine has started the container again by itself."""
    container.reload()
    return int(container.attrs["RestartCount"])


def lines_of(container: Any) -> list[str]:
    output: bytes = container.logs()
    return output.decode().splitlines()


def crash(container: Any) -> None:
    """SIGKILL what runs in the container, as the kernel does when memory is short: it is started again.

    The engine takes a `docker kill` for its operator's wish and leaves the container dead: see `kill`.
    """
    container.exec_run(["sh", "-c", "kill -9 -1"])


def kill(container: Any) -> None:
    """SIGKILL the container, which stays dead until somebody starts it."""
    container.kill()
    wait_for(lambda: state_of(container)["Status"] == "exited")


def wait_until_back(container: Any) -> None:
    """Return when the engine has started it again, and it is well."""
    wait_until_restarted(container, 1)
    wait_until_healthy(container)


def wait_until_restarted(container: Any, times: int) -> None:
    wait_for(lambda: restarts(container) >= times, BACK_WITHIN_S, f"{container.name} starts again")


def wait_until_healthy(container: Any) -> None:
    wait_for(lambda: is_healthy(container), BACK_WITHIN_S, f"{container.name} is well")
