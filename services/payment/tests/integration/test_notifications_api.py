"""What Order and User were told, over HTTP, and `Prefer: wait`."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from processes import Service, Stub, wait_for, wait_until_told
from repeats import LONG, let_their_time_come, repeats_that_wait

Start = Callable[..., Service]


def newest(service: Service, payment_id: int) -> dict[str, dict[str, Any]]:
    """Return the newest notification of each service for a payment."""
    found = service.http.get(f"/payments/{payment_id}/notifications").json()["notifications"]
    return {row["service"]: row for row in reversed(found)}


def in_state(service: Service, state: str, of: str) -> list[dict[str, Any]]:
    """Return the notifications of a neighbour that are in this state."""
    answer = service.http.get("/notifications", params={"state": state, "service": of})
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["notifications"]
    assert {row["state"] for row in rows} <= {state}
    return rows


def test_a_payment_shows_what_each_service_was_told(start: Start) -> None:
    service = start()
    payment_id = service.pay(7, user_id=9).json()["payment_id"]
    wait_for(lambda: {row["state"] for row in newest(service, payment_id).values()} == {"delivered"})
    order, user = (
        newest(service, payment_id)["order"],
        newest(service, payment_id)["user"],
    )
    assert (order["target_id"], order["payment_id"], order["told"]) == (7, payment_id, "paid")
    assert (user["target_id"], user["payment_id"], user["told"]) == (9, payment_id, "paid")
    for row in (order, user):
        assert row["attempts"] == 1
        assert (row["last_error"], row["cause"], row["failures"]) == (None, None, [])
        assert row["next_attempt_at"] is None, "it will not be tried again"
        assert row["settled_at"] >= row["created_at"]
    assert list(order) == [
        *("id", "service", "target_id", "payment_id", "state", "told", "attempts"),
        *("next_attempt_at", "last_error", "cause", "failures", "created_at", "settled_at"),
    ]


def test_what_is_not_there_is_404(shared: Service) -> None:
    answer = shared.http.get("/payments/999999/notifications")
    assert (answer.status_code, answer.json()) == (404, {"error": "Pembayaran tidak ditemukan"})
    answer = shared.http.post("/notifications/999999/retry")
    assert (answer.status_code, answer.json()) == (404, {"error": "Notifikasi tidak ditemukan"})
    english = shared.http.post("/notifications/999999/retry", headers={"Accept-Language": "en"})
    assert english.json() == {"error": "Notification not found"}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("state=gone", "state harus salah satu dari: waiting, delivered, superseded, dead"),
        ("service=menu", "service harus salah satu dari: order, user"),
        ("cause=weather", "cause harus salah satu dari: outage, no-route, denied, unknown, rejected"),
        ("cause=delivered", "cause harus salah satu dari: outage, no-route, denied, unknown, rejected"),
        ("limit=0", "limit harus bilangan bulat dari 1 sampai 200"),
        ("cursor=x", "cursor bukan yang diberikan oleh daftar ini"),
        ("cursor=51", "cursor bukan yang diberikan oleh daftar ini"),
    ],
)
def test_a_wrong_parameter_is_400_and_named(shared: Service, asked: str, said: str) -> None:
    answer = shared.http.get(f"/notifications?{asked}")
    assert (answer.status_code, answer.json()) == (400, {"error": said})


def test_pages_hold_every_notification_once_newest_first(start_alone: Service) -> None:
    for order_id in range(1, 13):
        start_alone.pay(order_id)
    for asked, count in (({}, 24), ({"service": "user"}, 12), ({"state": "waiting"}, 24)):
        parameters: dict[str, Any] = {"limit": 5, **asked}
        ids: list[int] = []
        while True:
            answer = start_alone.http.get("/notifications", params=parameters)
            page = answer.json()
            ids += [row["id"] for row in page["notifications"]]
            if page["next_cursor"] is None:
                break
            assert f"cursor={page['next_cursor']}" in answer.links["next"]["url"]
            parameters["cursor"] = page["next_cursor"]
            other = {"cursor": page["next_cursor"], "cause": "outage"}
            assert start_alone.http.get("/notifications", params=other).status_code == 400, "of its list only"
        assert ids == sorted(set(ids), reverse=True)
        assert len(ids) == count
    for state in ("delivered", "superseded", "dead"):
        assert in_state(start_alone, state, "order") == []


def test_a_dead_one_is_sent_again_and_then_no_more(start: Start, order: Stub) -> None:
    service = start()
    order.fault(answer=400, times=1)
    service.pay(1)
    (dead,) = wait_for(lambda: in_state(service, "dead", "order"))
    assert dead["last_error"]
    assert in_state(service, "dead", "user") == []

    answer = service.http.post(f"/notifications/{dead['id']}/retry")
    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["attempts"]) == ("waiting", 0)
    wait_for(lambda: order.states() == {1: "paid"})

    wait_for(lambda: in_state(service, "delivered", "order"))
    refused = service.http.post(f"/notifications/{dead['id']}/retry")
    assert refused.status_code == 409
    assert refused.json()["error"] == (
        f"Notifikasi {dead['id']} berstatus delivered; hanya yang waiting atau dead dapat dikirim lagi"
    )


def test_one_that_waits_is_tried_at_once(start: Start, order: Stub) -> None:
    """The worker is in another process, and its next look would be an hour away."""
    service = start("serve", "--no-worker")
    start("worker", RETRY_INITIAL_S="3600", CIRCUIT_FAILURES="50")
    service.pay(1)
    wait_for(
        lambda: in_state(service, "delivered", "order"), what="Order is known to answer, so nothing is probed"
    )
    order.fault(answer=500, times=1)
    service.pay(2)
    wait_for(lambda: newest(service, 2)["order"]["last_error"])
    time.sleep(0.3)  # the observation is what does not come
    assert 2 not in order.states()
    assert service.http.post(f"/notifications/{newest(service, 2)['order']['id']}/retry").status_code == 200
    wait_until_told(order, 2)


def test_a_repeat_that_is_tried_early_comes_again_when_it_is_time(start: Start, order: Stub) -> None:
    """An attempt without an answer may be applied late: what is told before that is not the last word."""
    service = start(RESEND_AFTER_S=LONG)
    order.fault(drop="after", times=1)
    service.pay(1)
    (repeat,) = repeats_that_wait(service)
    assert len(order.received(1)) == 2, "the attempt without an answer, then one with"
    assert len(in_state(service, "delivered", "order")) == 1, "it is known as told"
    assert service.http.post(f"/notifications/{repeat['id']}/retry").status_code == 200
    wait_for(lambda: len(order.received(1)) == 3, what="tried early")
    (again,) = repeats_that_wait(service)
    assert again["id"] != repeat["id"]
    assert again["next_attempt_us"] >= repeat["next_attempt_us"]
    let_their_time_come(service)
    wait_for(lambda: len(order.received(1)) == 4, what="and once more when it is time")


def wait_at_most(service: Service, order_id: int, preference: str) -> httpx.Response:
    return service.pay(order_id, user_id=order_id, Prefer=preference)


@pytest.mark.parametrize("apart", [False, True], ids=["worker inside", "worker apart"])
def test_prefer_wait_holds_the_answer_until_both_were_told(
    start: Start, order: Stub, user: Stub, *, apart: bool
) -> None:
    service = start("serve", "--no-worker") if apart else start()
    if apart:
        start("worker")
    for order_id in range(1, 6):
        answer = wait_at_most(service, order_id, "respond-async, wait=10")
        assert answer.status_code == 201
        assert answer.headers["Preference-Applied"] == "wait"
        assert order.states()[order_id] == user.states()[order_id] == "paid"
    replayed = service.pay(6, Idempotency_Key="kunci", Prefer="wait=10")
    again = service.pay(6, Idempotency_Key="kunci", Prefer="wait=10")
    assert (again.content, again.headers["Preference-Applied"]) == (replayed.content, "wait")


def test_prefer_wait_ends_when_its_time_is_over(start: Start, order: Stub, user: Stub) -> None:
    service = start()
    order.fault(hang_s=30)
    began_s = time.monotonic()
    answer = wait_at_most(service, 1, "wait=1")
    assert 1 <= time.monotonic() - began_s < 10
    assert answer.status_code == 201
    assert "Preference-Applied" not in answer.headers
    wait_until_told(user, 1)
    order.heal()


@pytest.mark.parametrize(
    "preference", ["wait", "wait=", "wait=x", "wait=-1", "wait=0", "waiting=9", "", ",;"]
)
def test_a_preference_that_makes_no_sense_is_ignored(shared: Service, order_id: int, preference: str) -> None:
    """RFC 7240, 2: no worker runs, so one that was honoured would take its time."""
    began_s = time.monotonic()
    answer = wait_at_most(shared, order_id, preference)
    assert answer.status_code == 201
    assert "Preference-Applied" not in answer.headers
    assert time.monotonic() - began_s < 8


def test_a_walk_in_guest_is_told_by_the_newest_payment(start: Start, user: Stub) -> None:
    """Rows of one guest are merged: whose was superseded waits for the one that tells in its place."""
    service = start()
    answers: list[httpx.Response] = []

    def pay(order_id: int) -> None:
        answers.append(service.pay(order_id, user_id=1, Prefer="wait=10"))
        assert user.states() == {1: "paid"}

    guests = [threading.Thread(target=pay, args=(order_id,)) for order_id in range(1, 13)]
    for guest in guests:
        guest.start()
    for guest in guests:
        guest.join()
    assert len(answers) == 12
    assert {answer.headers.get("Preference-Applied") for answer in answers} == {"wait"}


def test_who_waits_is_answered_when_the_server_ends(start_alone: Service) -> None:
    answers: list[httpx.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(wait_at_most(start_alone, 1, "wait=30")))
    waiting.start()
    wait_for(lambda: start_alone.http.get("/payments/1").status_code == 200)
    began_s = time.monotonic()
    assert start_alone.process.stop() == 0
    waiting.join()
    assert time.monotonic() - began_s < 20, "and not the thirty seconds that it would have waited"
    assert [answer.status_code for answer in answers] == [201]
    assert "Preference-Applied" not in answers[0].headers


def test_who_waits_leaves_room_for_who_does_not(start: Start, order: Stub) -> None:
    """Order is away, and a quarter of the requests that may be in hand wait to be told: no more do."""
    order.kill()
    service = start(REQUESTS_MAX="8")
    with ThreadPoolExecutor(8) as pool:
        began_s = time.monotonic()
        waiting = [pool.submit(wait_at_most, service, n, "wait=10") for n in range(1, 9)]
        wait_for(lambda: sum(each.done() for each in waiting) == 6, 8, "six do not wait")
        assert service.pay(100).status_code == 201
        assert service.http.get("/payments/1").status_code == 200
        assert time.monotonic() - began_s < 10
        answers = [each.result() for each in waiting]
    assert {answer.status_code for answer in answers} == {201}
    assert not any("Preference-Applied" in answer.headers for answer in answers)
