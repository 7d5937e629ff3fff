"""The stack as its operator runs it, by `make up`: restarts, kills and replicas under load.

Each test has the stack to itself, from nothing to `make down VOLUMES=1`, with all settings as shipped. It has
a project name and ports of its own, so a stack that runs beside it is not disturbed.
"""

import json
import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import docker  # type: ignore[import-untyped]  # has no type information: its objects are Any here
import httpx
import pytest

from described import ROOT, check
from payment.ledger.idempotency import fingerprint
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

    def make(self, target: str, *variables: str) -> None:
        """Run a target of the Makefile."""
        run("make", target, *variables)

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


class Load:
    """Guests who pay order after order until `stop`, each asking again with its key until it is answered 201.

    Half of them keep their connection, half open a new one for each request.
    """

    GUESTS = 6
    PAUSE_S = 0.02

    def __init__(self, stack: Stack) -> None:
        self.answers: Counter[str] = Counter()
        self.booked: dict[int, int] = {}  # order -> payment
        self.slowest_s = 0.0
        self._url = stack.payment.base_url
        self._done = threading.Event()
        self._guests = [
            threading.Thread(target=self._pay, args=(number,), daemon=True)
            for number in range(1, self.GUESTS + 1)
        ]
        for guest in self._guests:
            guest.start()

    def _pay(self, order_id: int) -> None:
        connection = "keep-alive" if order_id % 2 else "close"
        with httpx.Client(
            base_url=self._url,
            headers={"Connection": connection},
            trust_env=False,
            timeout=20,
            event_hooks={"response": [check]},
        ) as client:
            while not self._done.is_set():
                self._pay_until_booked(client, order_id)
                order_id += self.GUESTS
                time.sleep(self.PAUSE_S)

    def _pay_until_booked(self, client: httpx.Client, order_id: int) -> None:
        while order_id not in self.booked:
            began_s = time.monotonic()
            try:
                answer = client.post(
                    "/payments",
                    json={"order_id": order_id, "user_id": order_id, "amount": 20_000},
                    headers={"Idempotency-Key": f"order-{order_id}"},
                )
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                self.answers["lost connection"] += 1
                time.sleep(0.1)
                continue
            finally:
                self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
            self.answers[str(answer.status_code)] += 1
            if answer.status_code == 201:
                self.booked[order_id] = answer.json()["payment_id"]
            elif answer.status_code != 503:
                return  # never right: the counter shows it
            else:
                time.sleep(0.1)

    def wait_for_more(self, count: int = 100) -> None:
        """Return when so many more are booked."""
        enough = len(self.booked) + count
        wait_for(lambda: len(self.booked) >= enough, BACK_WITHIN_S, f"{count} more of {self.answers}")

    def stop(self) -> None:
        """Stop, once each guest is answered 201."""
        self._done.set()
        for guest in self._guests:
            guest.join(BACK_WITHIN_S)
            assert not guest.is_alive(), self.answers


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """Return a client of the engine that the `docker` command talks to; no engine is an error, not a skip."""
    host = run("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()
    client = docker.DockerClient(base_url=host)
    yield client
    client.close()


@pytest.fixture
def stack(engine: Any) -> Iterator[Stack]:
    """Return the stack with nothing of it there yet; all of it is gone afterwards."""
    stack = Stack(engine)
    stack.make("down", "VOLUMES=1")
    yield stack
    stack.close()
    print(stack.compose("logs", "--timestamps", "--tail", "40"))  # noqa: T201  # shown if the test failed
    stack.make("down", "VOLUMES=1")


@pytest.fixture
def up(stack: Stack) -> Stack:
    """Return the stack after `make up`."""
    stack.make("up")
    return stack


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


def assert_nothing_lost_or_doubled(stack: Stack, load: Load) -> None:
    """Every 201 is booked exactly once, nothing else is; both neighbours know all of it and nothing else."""
    assert set(load.answers) <= {"201", "503", "lost connection"}, load.answers
    assert load.answers["201"] == len(load.booked)
    rows = stack.sql("SELECT order_id, id, amount, status FROM payments")
    assert len(rows) == len(load.booked), "lost or doubled"
    assert {int(order): int(payment) for order, payment, _, _ in rows} == load.booked
    assert {(amount, status) for _, _, amount, status in rows} == {("20000", "paid")}
    assert stack.count("bills WHERE paid = total") == stack.count("bills") == len(rows)
    for neighbour in NEIGHBOURS:
        stack.wait_until_told(neighbour, load.booked, TAKEN_OVER_WITHIN_S)
        assert {put["status"] for put in stack.received(neighbour)} == {"paid"}, "a wrong state on the way"
    assert stack.count("notifications WHERE state = 'dead'") == 0
    print(f"{dict(load.answers)}; slowest {load.slowest_s:.1f} s; lost 0, doubled 0, untold 0")  # noqa: T201  # the figures


def owners(stack: Stack) -> set[str]:
    """Return the short ids of the containers whose workers have something in hand."""
    return {owner.partition(":")[0] for (owner,) in stack.sql("SELECT DISTINCT owner FROM leases")}


def test_a_payment_travels_through_the_stack(up: Stack) -> None:
    answer = up.pay(7)
    assert answer.status_code == 201
    assert answer.json()["message"] == "Pembayaran diproses"
    for neighbour in NEIGHBOURS:
        up.wait_until_told(neighbour, {7}, TOLD_WITHIN_S)
    payment = up.payment.get(answer.headers["Location"]).json()
    assert payment.items() >= {"order_id": 7, "user_id": 7, "amount": 20_000, "status": "paid"}.items()
    assert up.pay(7).status_code == 409
    assert up.payment.get("/readyz").status_code == 200
    assert up.payment.get("/docs/").status_code == 200
    assert up.payment.get("/bills/7", headers={"Host": "evil.example"}).status_code == 421
    from_inside = "import urllib.request as u; print(u.urlopen('http://port:5004/bills/7').status)"
    assert up.container("worker").exec_run(["python", "-c", from_inside]).output == b"200\n"
    for service in ("api", "worker"):
        events = [json.loads(line) for line in lines_of(up.container(service))]
        assert events
        assert all(event.keys() >= {"event", "level", "timestamp"} for event in events)


def test_the_containers_can_do_no_more_than_they_need(up: Stack) -> None:
    """No root, nothing to write on, no installer, no port beyond loopback; no password in a log."""
    containers = {container.labels["com.docker.compose.service"]: container for container in up.containers()}
    assert containers.keys() == ALL
    migrated = state_of(containers.pop("migrate"))
    assert (migrated["Status"], migrated["ExitCode"]) == ("exited", 0)
    published = {}
    for service, container in containers.items():
        assert is_healthy(container), service
        assert PASSWORD not in container.logs().decode(), service
        host = container.attrs["HostConfig"]
        assert "no-new-privileges:true" in host["SecurityOpt"], service
        assert 0 < host["Memory"] <= 512 * 1024**2, service
        assert not host["Privileged"], service
        assert container.exec_run(["stat", "-c", "%u", "/proc/1"]).output != b"0\n", service
        for port, bindings in container.attrs["NetworkSettings"]["Ports"].items():
            if bindings:
                published[service, port] = {(binding["HostIp"], binding["HostPort"]) for binding in bindings}
        if service == "postgres":  # not our image; its data folder is all that matters in it
            continue
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert not host["CapAdd"], service
        assert container.exec_run(["id", "-u"]).output == b"10001\n", service
        assert container.exec_run(["touch", "/app/written"]).exit_code != 0, service
        for tool in ("pip", "gcc", "make", "git", "curl"):
            assert container.exec_run(["sh", "-c", f"command -v {tool}"]).exit_code != 0, (service, tool)
        assert container.exec_run(["python", "-m", "pip", "--version"]).exit_code != 0, service
    assert published == {
        ("port", "5004/tcp"): {("127.0.0.1", PORTS["PAYMENT_PORT"])},
        ("order", "5003/tcp"): {("127.0.0.1", PORTS["ORDER_PORT"])},
        ("user", "5001/tcp"): {("127.0.0.1", PORTS["USER_PORT"])},
    }


def test_a_restart_of_postgresql_heals_by_itself(up: Stack) -> None:
    load = Load(up)
    load.wait_for_more()
    up.container("postgres").restart()
    load.wait_for_more()
    load.stop()
    assert load.answers["503"] > 0, "it was not noticed"
    assert load.answers["lost connection"] == 0, load.answers
    assert load.slowest_s < 10
    assert_nothing_lost_or_doubled(up, load)
    for service in ("api", "worker"):
        assert restarts(up.container(service)) == 0
        wait_until_healthy(up.container(service))


def test_a_crash_of_the_api_loses_nothing(up: Stack) -> None:
    """The engine starts it again after a crash; after a `docker kill` the operator does, by `make up`."""
    load = Load(up)
    load.wait_for_more()
    api = up.container("api")
    crash(api)
    wait_until_back(api)
    load.wait_for_more()
    kill(api)
    lost = load.answers["lost connection"]
    wait_for(lambda: load.answers["lost connection"] > lost + 10, what="guests notice")
    assert state_of(api)["Status"] == "exited", "nobody has started it yet"
    up.make("up")
    load.wait_for_more()
    load.stop()
    assert_nothing_lost_or_doubled(up, load)


def test_a_crash_of_what_holds_the_port_loses_nothing(up: Stack) -> None:
    """The API shares the network of `port`; when that is gone, the API follows into the new one by itself."""
    load = Load(up)
    load.wait_for_more()
    port, api = up.container("port"), up.container("api")
    crash(port)
    wait_until_back(port)
    wait_until_back(api)
    load.wait_for_more()
    load.stop()
    assert_nothing_lost_or_doubled(up, load)


def test_a_crash_of_the_worker_loses_nothing(up: Stack) -> None:
    up.fault("order", slow_ms=300)  # there is always something on its way
    load = Load(up)
    load.wait_for_more()
    worker = up.container("worker")
    wait_for(lambda: not up.received("order")[-1]["applied"], what="a PUT on its way")
    crash(worker)
    assert up.count("leases WHERE service = 'order'") > 0, "nothing was in hand"
    wait_until_back(worker)
    up.heal("order")
    load.wait_for_more()
    load.stop()
    assert set(load.answers) == {"201"}, "the API does not notice"
    assert_nothing_lost_or_doubled(up, load)


def test_a_killed_neighbour_is_told_when_it_is_back(up: Stack) -> None:
    """Order dies with calls in flight, and forgets all; User is told as ever."""
    order_ids = set(range(1, 21))
    up.fault("order", hang_s=600, apply="after")
    for order_id in order_ids:
        assert up.pay(order_id).status_code == 201
    wait_for(lambda: up.received("order"), what="calls in flight")
    order = up.container("order")
    kill(order)
    assert up.pay(21).status_code == 201, "POST waits for nobody"
    up.wait_until_told("user", order_ids | {21}, TOLD_WITHIN_S)
    assert state_of(order)["Status"] == "exited", "nobody has started it yet"
    up.make("up")
    up.wait_until_told("order", order_ids | {21}, 20)  # all that was never answered
    assert restarts(up.container("worker")) == 0


def test_replicas_carry_on_when_one_of_each_is_killed(up: Stack) -> None:
    up.compose("up", "--detach", "--wait", "--scale", "api=3", "--scale", "worker=3")
    for service in ("api", "worker"):
        assert [is_healthy(container) for container in up.containers(service)] == [True] * 3
    for neighbour in NEIGHBOURS:
        up.fault(neighbour, slow_ms=1_000)  # more is booked than can be told: all workers have work in hand
    load = Load(up)
    wait_for(lambda: len(owners(up)) == 3, BACK_WITHIN_S, "the workers share the work")
    load.wait_for_more()
    worker = up.containers("worker")[1]
    kill(worker)
    assert worker.id[:12] in owners(up), "nothing was in hand"
    load.wait_for_more()
    kill(up.containers("api")[1])
    load.wait_for_more(300)
    load.stop()
    for neighbour in NEIGHBOURS:
        up.heal(neighbour)
    assert_nothing_lost_or_doubled(up, load)
    wait_for(
        lambda: up.count("notifications WHERE state = 'waiting'") == 0 and up.count("leases") == 0,
        SETTLED_WITHIN_S,
        "nothing is owed any more",
    )
    assert_nothing_lost_or_doubled(up, load)


def test_an_empty_database_is_refused_until_it_is_migrated(stack: Stack) -> None:
    """What an operator meets who forgets the migration; `payment migrate` is all that is missing then."""
    run("docker", "compose", "build", "--quiet")
    stack.compose("up", "--detach", "--wait", "postgres", "port", *NEIGHBOURS)
    stack.compose("up", "--detach", "--no-deps", "api", "worker")
    for service in ("api", "worker"):
        container = stack.container(service)
        wait_until_restarted(container, 2)
        lines = lines_of(container)
        assert all(line.endswith("payment migrate") for line in lines), lines
    with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
        stack.payment.get("/readyz")
    assert stack.count("information_schema.tables WHERE table_schema = 'public'") == 0, "nobody migrated it"

    assert "migrated" in stack.compose("run", "--rm", "migrate")
    for service in ("api", "worker"):
        wait_until_healthy(stack.container(service))
    assert stack.pay(1).status_code == 201
    for neighbour in NEIGHBOURS:
        stack.wait_until_told(neighbour, {1}, TOLD_WITHIN_S)


def test_new_containers_find_what_was_booked(up: Stack) -> None:
    """New containers over the volume of the old ones: an upgrade without a change of the schema."""
    up.fault("order", answer=503)
    told = up.pay(1, Idempotency_Key="kunci-1")
    assert told.status_code == 201
    up.wait_until_told("user", {1}, TOLD_WITHIN_S)
    before = {container.id for container in up.containers()}
    payment = up.payment.get(told.headers["Location"]).json()

    up.compose("up", "--detach", "--wait", "--force-recreate")

    assert before.isdisjoint({container.id for container in up.containers()})
    assert "up to date" in up.container("migrate").logs().decode()
    assert up.payment.get(told.headers["Location"]).json() == payment
    again = up.pay(1, Idempotency_Key="kunci-1")
    assert (again.status_code, again.content) == (201, told.content)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert up.pay(1).status_code == 409
    up.wait_until_told("order", {1}, 20)  # what was owed before
    assert up.pay(2).json()["payment_id"] > payment["id"]


BOOKED_BEFORE = """
INSERT INTO bills (order_id, total, paid, pending) VALUES (1, 20000, 20000, 0);
INSERT INTO payments (order_id, user_id, amount, status, method, created_us, updated_us)
    VALUES (1, 1, 20000, 'paid', 'cash', 1769862896789012, 1769862896789012);
INSERT INTO idempotency_keys (caller, operation, key, fingerprint, status, location, body, created_us)
    VALUES ('', 'create_payment', 'kunci-1', '{fingerprint}', 201, '/payments/1',
        '{{"message":"Pembayaran diproses","payment_id":1}}', 1769862896789012);
INSERT INTO notifications (service, target_id, payment_id, state, next_attempt_us, created_us, due_since_us)
    SELECT unnest(ARRAY['order', 'user']), 1, 1, 'waiting', {now_us}, {now_us}, {now_us};
"""


def test_an_older_images_payments_are_upgraded(stack: Stack) -> None:
    """The schema of the first image, with a payment that nobody was told of yet; then the stack of today."""
    run("docker", "compose", "build", "--quiet")
    stack.compose("up", "--detach", "--wait", "postgres")
    alembic = ("--entrypoint", "alembic", "migrate", "-c", "/app/services/payment/alembic.ini")
    stack.compose("run", "--rm", "--no-deps", *alembic, "upgrade", "0001")
    body = {"order_id": 1, "user_id": 1, "amount": 20_000, "method": "cash"}
    rows = BOOKED_BEFORE.format(fingerprint=fingerprint(body), now_us=time.time_ns() // 1000)
    stack.sql(rows)

    stack.make("up")

    assert "migrated" in stack.container("migrate").logs().decode()
    assert stack.payment.get("/payments/1").json() == body | {
        "id": 1,
        "status": "paid",
        "amount_refunded": 0,
        "created_at": "2026-01-31T12:34:56.789012Z",
        "updated_at": "2026-01-31T12:34:56.789012Z",
    }
    again = stack.pay(1, Idempotency_Key="kunci-1")
    assert (again.status_code, again.json()["payment_id"]) == (201, 1)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert stack.pay(1).status_code == 409
    for neighbour in NEIGHBOURS:
        stack.wait_until_told(neighbour, {1}, TOLD_WITHIN_S)
    refund = stack.payment.post("/payments/1/refunds", json={"expected_refunded": 0})
    assert refund.status_code == 201
    wait_for(lambda: stack.told("order") == {1: "failed"}, TOLD_WITHIN_S, "order hears of the refund")


def test_down_ends_in_order_and_leaves_what_it_should(up: Stack) -> None:
    booked = up.pay(1)
    up.compose("stop")
    for service in ("api", "worker"):
        assert state_of(up.container(service))["ExitCode"] == 0, service
        assert json.loads(lines_of(up.container(service))[-1])["event"] == "stopped"
    up.make("down")
    assert up.what_is_left() == {"containers": [], "networks": [], "volumes": [f"{PROJECT}_payments"]}
    up.make("up")
    assert up.payment.get(booked.headers["Location"]).status_code == 200
    up.make("down", "VOLUMES=1")
    assert up.what_is_left() == {"containers": [], "networks": [], "volumes": []}
