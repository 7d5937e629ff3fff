"""POST /notifications/retry: all dead ones, or a kind of them, each sent again once, however many call."""

import itertools
import os
import pty
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from sqlalchemy import make_url, select, update

from key_holders import holder
from payment.core.cause import Cause
from payment.core.states import Outcome, State
from payment.ledger.resending import AT_ONCE_MAX, Resending, send_all_again
from payment.storage.opening import open_database
from payment.storage.tables import events, notifications
from processes import Service, Stub, wait_for, wait_until_told

Start = Callable[..., Service]


def let_die(service: Service, targets: Iterable[int], of: str | None = None, by: str = "rejected") -> None:
    """Have nothing of these orders and guests be tried any more, as if their services had refused it."""
    row = notifications.c
    query = update(notifications).where(row.target_id.in_(list(targets)))
    database = open_database(make_url(service.environment["DATABASE_URL"]))
    with database.write() as connection:
        connection.execute(
            (query.where(row.service == of) if of else query).values(
                state=State.DEAD, settled_us=1, last_outcome=Outcome(by), attempts=7
            )
        )
    database.close()


def retry(service: Service, body: Any = None) -> httpx.Response:
    """Ask for it; without a body unless there is one."""
    return service.http.post("/notifications/retry", **({} if body is None else {"json": body}))


def dead_of(service: Service) -> Counter[tuple[str, str]]:
    """Return how many are dead, by service and cause."""
    answer = service.http.get("/notifications", params={"state": "dead", "limit": 200})
    return Counter((row["service"], row["cause"]) for row in answer.json()["notifications"])


def retried_of(service: Service) -> list[tuple[int, str, int]]:
    """Return what the log of events says was sent again: which, its state then, and when; oldest first."""
    row = events.c
    query = select(row.data, row.created_us).where(row.types == "notification.retried").order_by(row.id)
    database = open_database(make_url(service.environment["DATABASE_URL"]))
    with database.read() as connection:
        found = connection.execute(query).all()
    database.close()
    return [(data["id"], data["state"], created_us) for data, created_us in found]


def test_all_that_are_dead_are_told_when_their_services_are_mended(
    start: Start, order: Stub, user: Stub
) -> None:
    service = start()
    order.fault(answer=400)
    user.fault(answer=422, ids=[1])
    for number in (1, 2, 3):
        service.pay(number, user_id=number)
    wait_for(lambda: dead_of(service).total() == 4)
    order.heal()
    user.heal()
    answer = retry(service)
    assert (answer.status_code, answer.json()) == (200, {"retried": 4})
    for number in (1, 2, 3):
        wait_until_told(order, number)
        wait_until_told(user, number)
    assert [state for _, state, _ in retried_of(service)] == ["waiting"] * 4
    assert retry(service).json() == {"retried": 0}


KINDS: tuple[tuple[Any, dict[Any, int]], ...] = (
    ({"cause": "rejected"}, {("order", "outage"): 2, ("user", "outage"): 2}),
    ({"service": "order"}, {("user", "rejected"): 3, ("user", "outage"): 2}),
    (
        {"service": "user", "cause": "outage", "state": "dead"},
        {("order", "outage"): 2, ("order", "rejected"): 3, ("user", "rejected"): 3},
    ),
    (
        {"cause": "unknown"},
        {(of, by): n for of in ("order", "user") for by, n in (("outage", 2), ("rejected", 3))},
    ),
    ({}, {}),
    ({"colour": "red"}, {}),
)
"""What is asked for, and how many are dead then, by service and cause."""


def test_only_those_that_are_asked_for(start_alone: Service) -> None:
    start_alone.book(range(1, 7))  # the last two wait
    for body, left in KINDS:
        let_die(start_alone, [1, 2, 3])
        let_die(start_alone, [4, 5], by="outage")
        assert retry(start_alone, body).json() == {"retried": 10 - sum(left.values())}, body
        assert dead_of(start_alone) == left, body


def test_a_body_that_says_nothing_is_all(start_alone: Service) -> None:
    start_alone.book([1])
    for content in (b"", b"null", b"{}"):
        let_die(start_alone, [1])
        answer = start_alone.http.post("/notifications/retry", content=content)
        assert (answer.status_code, answer.json()) == (200, {"retried": 2}), content
    let_die(start_alone, [1])
    assert start_alone.http.post("/notifications/retry", content=b" ").status_code == 400, "that is no JSON"
    assert dead_of(start_alone)


WRONG: tuple[tuple[Any, str], ...] = (
    ({"service": "menu"}, "service harus salah satu dari: order, user"),
    ({"service": None}, "service harus salah satu dari: order, user"),
    ({"cause": "delivered"}, "cause harus salah satu dari: outage, no-route, denied, unknown, rejected"),
    ({"cause": ["outage"]}, "cause harus salah satu dari: outage, no-route, denied, unknown, rejected"),
    ({"state": "waiting"}, "state harus salah satu dari: dead"),
    ([], "Isi permintaan harus berupa objek JSON"),
)


def test_a_wrong_value_is_400_and_sends_nothing(start_alone: Service) -> None:
    start_alone.book([1])
    let_die(start_alone, [1])
    for body, said in WRONG:
        answer = retry(start_alone, body)
        assert (answer.status_code, answer.json()) == (400, {"error": said}), body
        assert dead_of(start_alone).total() == 2, body


def test_more_than_one_transaction_takes_are_all_sent_again(start_alone: Service) -> None:
    count = AT_ONCE_MAX + 50
    start_alone.book(range(1, count + 1))
    let_die(start_alone, range(1, count + 1))
    assert retry(start_alone, {"cause": "rejected"}).json() == {"retried": 2 * count}
    happened = retried_of(start_alone)
    assert len({id_ for id_, _, _ in happened}) == len(happened) == 2 * count
    assert len({time_us for _, _, time_us in happened}) == 4, "two transactions of each service"
    assert dead_of(start_alone).total() == 0


def test_what_dies_again_meanwhile_is_left_for_the_next_time(start: Start, order: Stub) -> None:
    """Else one call would never end where a service refuses everything."""
    service = start()
    order.fault(answer=400)
    service.book(range(1, AT_ONCE_MAX + 201))
    wait_for(lambda: service.http.get("/neighbours").json()["neighbours"][0]["dead"] == AT_ONCE_MAX + 200, 60)
    assert retry(service).json() == {"retried": AT_ONCE_MAX + 200}


def test_two_who_call_at_once_send_each_again_once(start: Start) -> None:
    count = AT_ONCE_MAX + 100
    callers = [start("serve", "--no-worker") for _ in range(2)]
    callers[0].book(range(1, count + 1))
    for number in (1, 2, 3):
        let_die(callers[0], range(1, count + 1))
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(retry, callers * 2))
        assert [answer.status_code for answer in answers] == [200] * 4
        assert sum(answer.json()["retried"] for answer in answers) == 2 * count
        times = Counter(id_ for id_, _, _ in retried_of(callers[0]))
        assert set(times.values()) == {number}
        assert len(times) == 2 * count


def test_payments_go_on_meanwhile(start_alone: Service) -> None:
    start_alone.book(range(1, 3 * AT_ONCE_MAX + 1))
    let_die(start_alone, range(1, 3 * AT_ONCE_MAX + 1))
    with ThreadPoolExecutor(1) as pool:
        retrying = pool.submit(retry, start_alone)
        paid = 0
        while not retrying.done():
            assert start_alone.pay(10_000 + paid).status_code == 201
            paid += 1
        assert retrying.result().json() == {"retried": 6 * AT_ONCE_MAX}
    assert paid >= 3, "one could wait until the end, and one come just then"


def test_between_two_transactions_of_the_command_nothing_is_locked(start_alone: Service) -> None:
    start_alone.book(range(1, 2 * AT_ONCE_MAX + 1))
    let_die(start_alone, range(1, 2 * AT_ONCE_MAX + 1))
    database = open_database(make_url(start_alone.environment["DATABASE_URL"]))
    orders = itertools.count(10_000)
    for sent in send_all_again(database, Resending(Cause())):
        assert sent == AT_ONCE_MAX
        assert start_alone.pay(next(orders)).status_code == 201
    database.close()
    assert next(orders) == 10_004


def test_it_asks_for_its_scope(start_keyed: Start) -> None:
    service = start_keyed()
    refused = holder(service, "payments:read", "payments:write").post("/notifications/retry")
    assert (refused.status_code, refused.json()) == (
        403,
        {"error": "Kunci API tidak punya cakupan notifications:write"},
    )
    writer = holder(service, "notifications:write", client="konsol")
    service.book([1])
    let_die(service, [1])
    assert writer.post("/notifications/retry", json={"service": "order"}).json() == {"retried": 1}
    reader = holder(service, "events:read")
    (event,) = reader.get("/events?type=notification.retried").json()["events"]
    assert event["actor"] == f"konsol/{writer.id}"


def at_a_terminal(service: Service, answer: str, *options: str) -> str:
    """Send all that are dead again as a person does, who gives this answer; return what was said."""
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    ran = subprocess.run(
        [sys.executable, "-m", "payment", "notifications", "retry", "--all-dead", *options],
        stdin=theirs,
        env={"PATH": os.environ["PATH"], **service.environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    return ran.stdout + ran.stderr


def test_the_command_sends_a_kind_again(start_alone: Service) -> None:
    start_alone.book(range(1, 4))
    let_die(start_alone, [1, 2])
    let_die(start_alone, [3], by="outage")
    arguments = ("notifications", "retry", "--all-dead", "--service", "order", "--cause", "rejected")
    assert start_alone.cli(*arguments).stdout.strip() == "Dikirim lagi / to be sent again: 2"
    assert dead_of(start_alone) == {("order", "outage"): 1, ("user", "outage"): 1, ("user", "rejected"): 2}
    dry = start_alone.cli("notifications", "retry", "--all-dead", "--dry-run", "--service", "user")
    assert dry.stdout.strip() == "Akan dikirim lagi / would be sent again: 3"
    assert sum(dead_of(start_alone).values()) == 4, "nothing was sent"
    asked = at_a_terminal(start_alone, "n")
    assert "send 4 notifications again? [y/N]" in asked
    assert "to be sent again" not in asked
    assert sum(dead_of(start_alone).values()) == 4
    assert "to be sent again: 4" in at_a_terminal(start_alone, "y")
    assert not dead_of(start_alone)
    assert "again?" not in at_a_terminal(start_alone, "", "--yes")
    assert start_alone.cli("notifications", "retry", "--all-dead").stdout.strip().endswith(": 0")
    for wrong in (
        ("1", "--service", "order"),
        ("1", "--dry-run"),
        ("--cause", "rejected"),
        ("--all-dead", "--cause", "x"),
    ):
        refused = start_alone.cli("notifications", "retry", *wrong)
        assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
