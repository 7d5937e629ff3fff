"""`payment prune` of old payments: archived first, and none that anything depends on, on both databases."""

import json
import random
import stat
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Table, func, make_url, select, update

from console_visitor import Visitor
from pages import where_it_is_noon
from payment.core.units import read_time
from payment.ledger.archive import Archive
from payment.ledger.payment_pruning import PaymentPruning
from payment.storage.opening import open_current
from payment.storage.tables import bills, events, metadata, notifications, payments, refunds
from payment_life import PENDING, booked
from processes import Service, Stub, wait_for, wait_until_all_told
from programs import Process

Start = Callable[..., Service]
KEPT_D = 30
KEPT = {"PAYMENTS_KEPT_D": str(KEPT_D), "NOTIFICATIONS_KEPT_D": "14", "PENDING_EXPIRES_S": "31000000"}
DAY_US = 24 * 3_600_000_000


def age(database_url: str, days: int) -> None:
    """Make everything that is there as old as if it had happened so much earlier."""
    database = open_current(make_url(database_url))
    with database.write() as connection:
        for table in metadata.tables.values():
            times = [column for column in table.columns if column.name.endswith("_us")]
            if times:
                connection.execute(update(table).values({each: each - days * DAY_US for each in times}))
    database.close()


def rows(database_url: str) -> dict[str, dict[int, dict[str, Any]]]:
    """Return all payments and refunds by their ids."""
    database = open_current(make_url(database_url))
    with database.read() as connection:
        found = {
            table.name: {row["id"]: dict(row) for row in connection.execute(select(table)).mappings()}
            for table in (payments, refunds)
        }
    database.close()
    return found


def read_archive(*files: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Return the archived rows as they were in their tables, by their ids; a last line may be torn."""
    found: dict[str, dict[int, dict[str, Any]]] = {"payments": {}, "refunds": {}}
    for file in files:
        for line in file.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                row = json.loads(line)
                stored = {
                    f"{name.removesuffix('_at')}_us" if name.endswith("_at") else name: read_time(value)
                    if name.endswith("_at") and value
                    else value
                    for name, value in row.items()
                    if name != "table"
                }
                found[row["table"]][row["id"]] = stored
    return found


def paid_late(service: Service, order_id: int) -> tuple[int, int]:
    """Let a payment's money come when another has paid its order; return both."""
    payment_id = booked(service.pay(order_id, 112, fields={"status": "pending"}))
    service.settle(payment_id, "failed").raise_for_status()
    instead = booked(service.pay(order_id, 113))
    assert service.settle(payment_id, "paid").status_code == 409
    return payment_id, instead


def prune(service: Service, *arguments: str) -> dict[str, Any]:
    run = service.cli("prune", "--json", *arguments)
    assert (run.returncode, run.stderr) == (0, "")
    said: dict[str, Any] = json.loads(run.stdout)
    return said


def test_what_nothing_depends_on_is_archived_and_deleted(
    start: Start, order: Stub, database_url: str, tmp_path: Path
) -> None:
    service = start(RETRY_FOR_S="0.1", **KEPT)

    def pay(order_id: int, user_id: int, **fields: Any) -> int:
        return booked(service.pay(order_id, user_id, fields=fields))

    goes = [pay(1, 101), pay(2, 102, status="pending"), pay(3, 103), pay(4, 104)]
    service.settle(goes[1], "failed").raise_for_status()
    for amount in (5_000, 15_000):
        service.refund(goes[2], {"amount": amount}).raise_for_status()
    service.refund(goes[3], {"amount": 1, "reason": "Sate ayam habis"}).raise_for_status()
    goes += [pay(5, 105, order_total=40_000), pay(5, 106, order_total=40_000)]
    came_late, instead = paid_late(service, 13)
    goes.append(instead)
    owed, waiting = pay(6, 107, order_total=40_000), pay(7, 108, **PENDING)
    newest_beside_owed = pay(8, 107)
    older, newest = pay(9, 109), pay(10, 109)
    wait_until_all_told(service)
    order.fault(answer=400)
    dead = pay(11, 110)
    wait_until_all_told(service)
    order.heal()
    age(database_url, KEPT_D + 1)
    touched = pay(12, 111)
    late_refund = goes.pop(0)
    service.refund(late_refund, {"amount": 1}).raise_for_status()
    wait_until_all_told(service)

    refused = service.cli("prune")
    assert (refused.returncode, "--export" in refused.stderr) == (2, True)
    before, bills_before = (
        rows(database_url),
        {n: service.http.get(f"/bills/{n}").json() for n in range(1, 13)},
    )
    feed = service.http.get("/events", params={"limit": 200}).json()["events"]
    counted = prune(service, "--dry-run")
    assert (counted["payments"], counted["refunds"], counted["exported"]) == (len(goes) + 1, 3, None)
    assert rows(database_url) == before
    done = prune(service, "--export", str(tmp_path))
    assert {**counted, "dry_run": False, "exported": done["exported"]} == done

    after, file = rows(database_url), Path(done["exported"])
    stay = {late_refund, owed, waiting, newest_beside_owed, newest, dead, touched, came_late}
    assert set(after["payments"]) == stay
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    archived = read_archive(file)
    for name in ("payments", "refunds"):
        gone = before[name].keys() - after[name].keys()
        assert archived[name] == {id_: before[name][id_] for id_ in gone}, name
    assert set(archived["payments"]) == {*goes, older}

    for payment_id in archived["payments"]:
        assert service.http.get(f"/payments/{payment_id}").status_code == 404
        assert service.refund(payment_id).status_code == 404
        assert service.http.get(f"/payments/{payment_id}/events").status_code == 404
    assert {n: service.http.get(f"/bills/{n}").json() for n in range(1, 13)} == bills_before
    assert service.http.get("/events", params={"limit": 200}).json()["events"] == feed
    for order_id, answer in ((1, 409), (4, 409), (5, 409), (9, 409), (2, 201), (3, 201)):
        assert service.pay(order_id, user_id=300 + order_id).status_code == answer, order_id
    assert service.refund(late_refund).status_code == 201, "it is still there"
    again = prune(service, "--export", str(tmp_path))
    assert again["payments"] == 1, "the guest's newest, now that it is the only one"
    assert set(read_archive(Path(again["exported"]))["payments"]) == {newest}
    assert prune(service, "--export", str(tmp_path))["exported"] is None, "no file without rows"


def test_what_is_gone_is_in_no_report_and_its_ids_are_not_given_again(
    start: Start, database_url: str, tmp_path: Path
) -> None:
    service = start("serve", "--no-worker", TIMEZONE=where_it_is_noon(), **KEPT)
    service.book([1])
    refund_id = service.refund(1, {"amount": 1}).json()["id"]
    today = date.fromisoformat(service.http.get("/reports/daily").json()["date"])
    forget_notifications(database_url)
    age(database_url, 40)
    dates = {
        name: (today - timedelta(days=ago)).isoformat()
        for name, ago in (("old", 40), ("kept", KEPT_D - 1), ("today", 0))
    }
    of_old = f"/reports/daily?date={dates['old']}"
    assert service.http.get(of_old).json()["payments"] == 1
    assert prune(service, "--export", str(tmp_path))["payments"] == 1
    for path in (of_old, of_old.replace("daily", "hourly")):
        gone = service.http.get(path)
        assert gone.status_code == 410
        assert f"{dates['old']} tidak punya laporan lagi" in gone.json()["error"]
    with Visitor(service.url) as visitor:
        closing = visitor.open("/console/closing", date=dates["old"])
    assert (closing.status, "tidak punya laporan lagi" in closing.text) == (410, True)
    for name in ("kept", "today"):
        assert service.http.get(f"/reports/daily?date={dates[name]}").status_code == 200
    terminal = service.cli("report", "--date", dates["old"])
    assert (terminal.returncode, terminal.stdout) == (1, "")
    assert "deleted as old" in terminal.stderr
    assert rows(database_url) == {"payments": {}, "refunds": {}}
    assert booked(service.pay(2)) == 2, "its id is not given again"
    assert service.refund(2).json()["id"] > refund_id


def test_without_an_archive_nothing_is_deleted(start: Start, database_url: str, tmp_path: Path) -> None:
    service = start("serve", "--no-worker", **KEPT)
    service.book([1])
    forget_notifications(database_url)
    age(database_url, KEPT_D + 1)
    nowhere = service.cli("prune", "--export", str(tmp_path / "nowhere"))
    assert (nowhere.returncode, "nowhere" in nowhere.stderr) == (2, True)
    run = service.cli("prune", "--export", "/proc")  # nobody can make a file there
    assert run.returncode != 0
    assert "/proc" in run.stderr
    assert "Traceback" not in run.stderr
    assert len(rows(database_url)["payments"]) == 1


def test_a_refund_that_comes_while_its_payment_goes_waits_and_finds_none(
    start: Start, database_url: str, tmp_path: Path, end: ExitStack
) -> None:
    """Or it would be deleted with the payment, and be in no archive."""
    service = start("serve", "--no-worker", **KEPT)
    service.book([1])
    forget_notifications(database_url)
    age(database_url, KEPT_D + 1)
    guest = end.enter_context(ThreadPoolExecutor(1))
    given_back: list[Future[tuple[int, int]]] = []

    class Slow(Archive):
        """Somebody gives money back when the rows were read and are not deleted yet."""

        def sync(self) -> None:
            given_back.append(guest.submit(give_back, service, 1))
            wait(given_back, timeout=0.5)
            assert not given_back[0].done()
            super().sync()

    database = open_current(make_url(database_url))
    end.callback(database.close)
    now_us = time.time_ns() // 1000
    archive = Slow(tmp_path, now_us)
    end.callback(archive.close)
    with database.write() as connection:
        gone = PaymentPruning(now_us - KEPT_D * DAY_US, archive, now_us).run(connection)
    assert gone == (1, 0)
    assert given_back[0].result(30) == (1, 404)


def test_killed_at_any_moment_it_has_archived_all_that_is_gone(
    start: Start, database_url: str, tmp_path: Path, rounds: range, end: ExitStack
) -> None:
    """Killed again and again, while guests get money back of the same payments."""
    service = start("serve", "--no-worker", **KEPT)
    count = 800
    service.book(range(1, count + 1))
    forget_notifications(database_url)
    age(database_url, KEPT_D + 1)
    before = rows(database_url)["payments"]
    folder = tmp_path / "archive"
    folder.mkdir()
    dice = random.Random(7)
    database = open_current(make_url(database_url))
    end.callback(database.close)

    def number(table: Table) -> int:
        with database.read() as connection:
            found: int = connection.execute(select(func.count()).select_from(table)).scalar_one()
        return found

    def written() -> int:
        return sum(file.stat().st_size for file in folder.iterdir())

    def run_and_kill(nth: int) -> None:
        """Kill it while it writes the archive, or when it has just deleted something."""
        process = Process(("payment", ["prune", "--export", str(folder)]), service.environment)
        enough, left = written() + dice.randint(1, 50_000), number(payments)
        wait_for(
            lambda: (
                process.poll() is not None or (written() >= enough if nth % 2 else number(payments) < left)
            ),
            20,
        )
        process.kill()

    with ThreadPoolExecutor(2) as guests:
        answers = guests.map(partial(give_back, service), dice.sample(range(1, count + 1), 100))
        for nth in range(max(4, len(rounds) // 4)):
            run_and_kill(nth)
        given_back = dict(answers)
    last = service.cli("prune", "--export", str(folder))
    assert (last.returncode, last.stderr) == (0, "")
    assert set(given_back.values()) <= {201, 404}
    refunded = {payment_id for payment_id, status in given_back.items() if status == 201}
    left = rows(database_url)["payments"]
    assert set(left) == refunded, "what was given back is news, what was not is gone"
    archived = read_archive(*sorted(folder.iterdir()))["payments"]
    gone = before.keys() - left.keys()
    assert gone <= archived.keys()
    assert all(archived[payment_id] == before[payment_id] for payment_id in gone)
    assert (number(bills), number(events)) == (count, count + len(refunded))


def give_back(service: Service, payment_id: int) -> tuple[int, int]:
    """Give back a rupiah, by one key until it is answered; return the payment, and the status of the answer.

    Whoever has to wait too long for what is being deleted is told to try again (503).
    """

    def answered() -> int:
        status = service.refund(payment_id, {"amount": 1}, Idempotency_Key=f"of-{payment_id}").status_code
        return 0 if status == 503 else status

    return payment_id, wait_for(answered, 20)


def forget_notifications(database_url: str) -> None:
    """As if all had been told long ago, and that had been pruned."""
    database = open_current(make_url(database_url))
    with database.write() as connection:
        connection.execute(notifications.delete())
    database.close()
