"""The stack as its operator runs it, by `make up`: restarts, kills and replicas under load.

Each test has the stack to itself, from nothing to `make down VOLUMES=1`, with all settings as shipped. It has
a project name and ports of its own, so a stack that runs beside it is not disturbed.
"""

import json

import httpx

from stack import (
    ALL,
    NEIGHBOURS,
    PASSWORD,
    PORTS,
    PROJECT,
    TOLD_WITHIN_S,
    Stack,
    is_healthy,
    lines_of,
    run,
    state_of,
)


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
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert not host["CapAdd"], service
        if service == "postgres":  # not our image
            assert container.exec_run(["touch", "/var/tmp/written"]).exit_code != 0, service
            continue
        assert container.exec_run(["id", "-u"]).output == b"10001\n", service
        assert container.exec_run(["touch", "/var/tmp/written"]).exit_code != 0, service
        for tool in ("pip", "gcc", "make", "git", "curl"):
            assert container.exec_run(["sh", "-c", f"command -v {tool}"]).exit_code != 0, (service, tool)
        assert container.exec_run(["python", "-m", "pip", "--version"]).exit_code != 0, service
    for stub in NEIGHBOURS:  # the database is in another network than theirs
        assert containers[stub].exec_run(["getent", "hosts", "order"]).exit_code == 0
        assert containers[stub].exec_run(["getent", "hosts", "postgres"]).exit_code != 0
    assert published == {
        ("port", "5004/tcp"): {("127.0.0.1", PORTS["PAYMENT_PORT"])},
        ("order", "5003/tcp"): {("127.0.0.1", PORTS["ORDER_PORT"])},
        ("user", "5001/tcp"): {("127.0.0.1", PORTS["USER_PORT"])},
    }


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


def test_with_auth_keys_who_brings_none_may_not_pay(stack: Stack) -> None:
    """The key is made by the command that `make up` prints; Order and User ask for tokens in their turn."""
    tokens = {"order": "rahasia-order", "user": "rahasia-user"}
    settings = [f"{name.upper()}_SERVICE_TOKEN={token}" for name, token in tokens.items()]
    shown = stack.make("up", "AUTH=keys", *settings)
    assert f"http://localhost:{PORTS['PAYMENT_PORT']}/docs" in shown
    (hint,) = [line for line in shown.splitlines() if "payment keys create" in line]
    output = run(*hint.partition(": ")[2].split()).splitlines()
    (key,) = [line for line in output if line.startswith("pk_")]

    assert stack.pay(1).status_code == 401
    assert stack.pay(1, Authorization=f"Bearer {key[:-1]}").status_code == 401
    assert stack.count("payments") == 0

    booked = stack.pay(1, Authorization=f"Bearer {key}")
    assert booked.status_code == 201
    for neighbour, port in NEIGHBOURS.items():
        stack.wait_until_told(neighbour, {1}, TOLD_WITHIN_S)
        assert len(stack.received(neighbour)) == 1, "with its token at once"
        url = f"http://127.0.0.1:{PORTS[port]}/{neighbour}s/1"
        assert httpx.get(url, trust_env=False).status_code == 401, "it does ask for the token"
    assert stack.payment.get(booked.headers["Location"]).status_code == 401
    seen = stack.payment.get(booked.headers["Location"], headers={"Authorization": f"Bearer {key}"})
    assert (seen.status_code, seen.json()["status"]) == (200, "paid")
    logs = stack.compose("logs")
    assert not [secret for secret in (key, *tokens.values()) if secret in logs]
