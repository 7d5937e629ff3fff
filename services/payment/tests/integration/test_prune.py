"""`payment prune`: what is old goes, what anybody may still need stays, on both databases."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import func, make_url, select, update

from payment.storage.opening import open_current
from payment.storage.tables import (
    bills,
    event_log,
    events,
    idempotency_keys,
    leases,
    notifications,
    payments,
    refunds,
)
from processes import Service, Stub, wait_until_all_told, wait_until_told

Start = Callable[..., Service]
HOUR_US = 3_600_000_000
KEPT_H, KEPT_D = 24, 1
NOTHING = dict.fromkeys(("idempotency_keys", "notifications", "leases", "payments", "refunds", "events"), 0)


def prune(service: Service, *arguments: str) -> dict[str, int]:
    run = service.cli("prune", "--json", *arguments)
    assert (run.returncode, run.stderr) == (0, "")
    counts: dict[str, int] = json.loads(run.stdout)
    assert counts.pop("dry_run") == ("--dry-run" in arguments)
    assert counts.pop("exported") is None
    return counts


def age(database_url: str, hours: int) -> None:
    """Make everything that is there as old as if it had happened so much earlier."""
    database = open_current(make_url(database_url))
    with database.write() as connection:
        for column in (
            idempotency_keys.c.created_us,
            notifications.c.created_us,
            notifications.c.settled_us,
            leases.c.until_us,
            events.c.created_us,
            event_log.c.begins_us,
        ):
            changed = update(column.table).values({column.name: column - hours * HOUR_US})
            connection.execute(changed.where(column.is_not(None)))
    database.close()


def sizes(database_url: str) -> dict[str, int]:
    database = open_current(make_url(database_url))
    with database.read() as connection:
        tables = (bills, payments, refunds, idempotency_keys, notifications)
        counted = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in tables
        }
    database.close()
    return counted


def test_what_is_old_goes_and_the_rest_stays(start: Start, order: Stub, database_url: str) -> None:
    service = start(IDEMPOTENCY_KEPT_H=str(KEPT_H), NOTIFICATIONS_KEPT_D=str(KEPT_D), RETRY_FOR_S="0.1")
    for number in range(1, 4):
        service.pay(number, user_id=number, Idempotency_Key=f"old-{number}")
    wait_until_all_told(service)
    service.refund(1, {"amount": 5_000}, Idempotency_Key="old-refund")
    order.fault(answer=400)
    service.pay(4, user_id=4)  # Order refuses that: a dead one
    wait_until_all_told(service)
    order.heal()
    age(database_url, KEPT_H + 1)
    service.pay(5, user_id=5, Idempotency_Key="new")
    wait_until_all_told(service)

    needless = service.cli("prune", "--export", ".")
    assert (needless.returncode, "PAYMENTS_KEPT_D" in needless.stderr) == (2, True)
    before = sizes(database_url)
    gone = NOTHING | {"idempotency_keys": 4, "notifications": 7}
    assert prune(service, "--dry-run") == gone
    assert sizes(database_url) == before, "counting deletes nothing"
    assert prune(service) == gone
    after = {name: number - gone.get(name, 0) for name, number in before.items()}
    assert sizes(database_url) == after
    assert sorted(row["state"] for row in service.notifications()) == ["dead", "delivered", "delivered"]
    assert prune(service) == NOTHING

    assert service.pay(5, user_id=5, Idempotency_Key="new").headers["idempotency-replayed"] == "true"
    again = service.pay(1, user_id=1, Idempotency_Key="old-1")
    assert again.status_code == 409, "a key that was deleted is a new one, and the bill is paid"
    assert service.http.get("/payments/1").json()["amount_refunded"] == 5_000


def test_what_waits_is_never_deleted(start: Start, order: Stub, user: Stub, database_url: str) -> None:
    service = start("serve", "--no-worker")
    service.pay(1, user_id=1)
    age(database_url, 100 * 24)
    assert prune(service) == NOTHING
    start("worker")
    wait_until_told(order, 1)
    wait_until_told(user, 1)


def test_payments_go_on_while_much_is_deleted(start: Start, database_url: str) -> None:
    service = start("serve", "--no-worker", IDEMPOTENCY_KEPT_H=str(KEPT_H))

    def pay(number: int) -> int:
        return service.pay(number, Idempotency_Key=f"key-{number}").status_code

    service.book(range(1, 2_501))
    age(database_url, KEPT_H + 1)
    with ThreadPoolExecutor(16) as guests:
        pruning = guests.submit(prune, service)
        assert set(guests.map(pay, range(2_501, 3_001))) == {201}
        assert pruning.result()["idempotency_keys"] == 2_500
    assert sizes(database_url)["idempotency_keys"] == 500


def test_events_go_only_if_a_setting_says_so_and_never_the_newest(start: Start, database_url: str) -> None:
    service = start("serve", "--no-worker")
    for number in (1, 2, 3):
        service.pay(number)
    age(database_url, 49)
    assert prune(service)["events"] == 0, "kept for good"
    service = start("serve", "--no-worker", EVENTS_KEPT_D="2")
    before = service.http.get("/events").json()
    assert prune(service, "--dry-run")["events"] == 2
    assert service.http.get("/events").json() == before
    assert prune(service)["events"] == 2, "rows: each tells of two events"
    after = service.http.get("/events").json()
    assert after["events"] == before["events"][-2:]
    assert after["begins_at"] > before["begins_at"]
    caught_up = service.http.get("/events", params={"after": before["next_cursor"]})
    assert caught_up.json()["events"] == [], "who has read all may go on"
    behind = service.http.get("/events", params={"after": before["events"][0]["id"]})
    assert behind.status_code == 410
    service.pay(4)
    assert prune(service)["events"] == 1, "now it is not the newest"
