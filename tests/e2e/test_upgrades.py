"""An empty database, new containers over an old volume, and the schema of an older image."""

import time

import httpx
import pytest

from payment.ledger.idempotency import fingerprint
from processes import wait_for
from stack import NEIGHBOURS, TOLD_WITHIN_S, Stack, lines_of, run, wait_until_healthy, wait_until_restarted


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

ONLY_THE_FIRST = """
from alembic import command, config
from payment.storage.migrate import MIGRATIONS
alembic = config.Config()
alembic.set_main_option("script_location", str(MIGRATIONS))
command.upgrade(alembic, "0001")
"""


def test_an_older_images_payments_are_upgraded(stack: Stack) -> None:
    """The schema of the first image, with a payment that nobody was told of yet; then the stack of today."""
    run("docker", "compose", "build", "--quiet")
    stack.compose("up", "--detach", "--wait", "postgres")
    stack.compose("run", "--rm", "--no-deps", "--entrypoint", "python", "migrate", "-c", ONLY_THE_FIRST)
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
        "reference": None,
        "expires_at": None,
        "late": False,
        "settled_at": "2026-01-31T12:34:56.789012Z",
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
