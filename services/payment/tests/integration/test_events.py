"""Events: what happened, by whom and in which request, as one log that any reader can follow."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import httpx
import pytest

from followers import by_subject, read_all
from payment_life import PENDING, booked
from processes import Service, Stub, http_client, wait_for, wait_until_all_told
from scrapes import scrape

Start = Callable[..., Service]

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACE = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
BATCH = "application/cloudevents-batch+json"
STREAM = "text/event-stream"


def story(service: Service, payment_id: int) -> list[dict[str, Any]]:
    answer = service.http.get(f"/payments/{payment_id}/events")
    assert answer.status_code == 200, answer.text
    events: list[dict[str, Any]] = answer.json()["events"]
    return events


def newest(service: Service) -> str:
    """Return the cursor of what is there now."""
    cursor: str = service.http.get("/events", params={"after": "newest"}).json()["next_cursor"]
    return cursor


def test_a_payment_that_is_paid_at_once_was_made_and_paid(shared: Service, order_id: int) -> None:
    answer = shared.pay(order_id, user_id=7, X_Request_Id="kasir-1/17", traceparent=TRACE)
    payment_id = booked(answer)
    payment = shared.http.get(f"/payments/{payment_id}").json()
    made, paid = story(shared, payment_id)
    assert made == {
        "specversion": "1.0",
        "id": made["id"],
        "source": "urn:payment:service",
        "type": "payment.created",
        "subject": f"payments/{payment_id}",
        "time": payment["created_at"],
        "datacontenttype": "application/json",
        "actor": "anybody",
        "requestid": "kasir-1/17",
        "traceparent": TRACE,
        "data": payment,
    }
    assert paid == made | {"type": "payment.paid", "id": paid["id"]}
    assert made["id"] != paid["id"]


def test_each_step_of_a_life_is_told_with_what_it_left(shared: Service, order_id: int) -> None:
    payment_id = booked(shared.pay(order_id, fields=PENDING, X_Request_Id="r-made"))
    shared.settle(payment_id, "paid", X_Request_Id="r-paid")
    shared.settle(payment_id, "paid", X_Request_Id="r-paid-already")
    part = shared.refund(payment_id, {"amount": 5_000, "reason": "Es teh"}, X_Request_Id="r-part").json()
    rest = shared.refund(payment_id, X_Request_Id="r-rest").json()
    assert [(event["type"], event["requestid"]) for event in story(shared, payment_id)] == [
        ("payment.created", "r-made"),
        ("payment.paid", "r-paid"),
        ("refund.created", "r-part"),
        ("refund.created", "r-rest"),
        ("payment.refunded", "r-rest"),
    ]
    made, paid, first, second, refunded = story(shared, payment_id)
    assert (made["data"]["status"], paid["data"]["status"]) == ("pending", "paid")
    assert (first["data"], second["data"]) == (part, rest)
    assert first["subject"] == f"payments/{payment_id}/refunds/{part['id']}"
    assert refunded["data"] == shared.http.get(f"/payments/{payment_id}").json()


def test_what_is_refused_or_replayed_leaves_no_event(shared: Service, order_id: int) -> None:
    payment_id = booked(shared.pay(order_id, Idempotency_Key=f"events-{order_id}"))
    after = newest(shared)
    assert shared.pay(order_id, Idempotency_Key=f"events-{order_id}").headers["idempotency-replayed"]
    assert shared.pay(order_id).status_code == 409
    assert shared.settle(payment_id, "failed").status_code == 409
    assert shared.refund(payment_id, {"amount": 99_999}).status_code == 409
    assert read_all(shared.url, after) == []


def test_the_story_of_a_payment_that_is_not_there(shared: Service) -> None:
    assert shared.http.get("/payments/999999/events").status_code == 404


def test_a_name_that_a_request_cannot_have_is_replaced(shared: Service, order_id: int) -> None:
    for name in ("", 129 * "x", "with blank", "kasír"):
        answer = shared.http.get("/healthz", headers=[(b"X-Request-Id", name.encode("latin-1"))])
        assert len(answer.headers["x-request-id"]) == 32
    twice = shared.http.get("/healthz", headers=[("X-Request-Id", "a"), ("X-Request-Id", "b")])
    assert twice.headers["x-request-id"] not in {"a", "b"}
    longest = 128 * "~"
    payment_id = booked(shared.pay(order_id, X_Request_Id=longest))
    assert {event["requestid"] for event in story(shared, payment_id)} == {longest}


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/nothing"), ("PUT", "/payments"), ("GET", "/docs"), ("GET", "/readyz")]
)
def test_every_answer_names_its_request(shared: Service, method: str, path: str) -> None:
    answer = shared.http.request(method, path, headers={"X-Request-Id": "mine"})
    assert answer.headers.get_list("x-request-id") == ["mine"]


def test_what_is_no_http_has_a_name_too(shared: Service) -> None:
    answer = shared.http.get("/", headers={"X-Big": "x" * 70_000, "X-Request-Id": "mine"})
    assert answer.status_code == 431
    assert answer.headers["x-request-id"]


def test_pages_lead_on_by_cursor_and_by_link(shared: Service) -> None:
    after = newest(shared)
    for _ in range(3):
        booked(shared.pay(new_order(shared)))
    one_by_one: list[str] = []
    url = f"/events?limit=1&after={after}"
    while page := shared.http.get(url).json()["events"]:
        one_by_one += [event["id"] for event in page]
        answer = shared.http.get(url)
        assert answer.links["next"]["url"] == f"/events?limit=1&after={answer.json()['next_cursor']}"
        url = answer.links["next"]["url"]
    at_once = [event["id"] for event in read_all(shared.url, after)]
    assert len(at_once) == 6
    assert one_by_one == at_once
    assert [event["id"] for event in read_all(shared.url, at_once[2])] == at_once[3:], "an id is a cursor"


def new_order(service: Service) -> int:
    """Return an order that nobody paid in this database."""
    listed = service.http.get("/payments", params={"limit": 1}).json()["payments"]
    return 500_000 + (listed[0]["id"] if listed else 0)


def test_filters(shared: Service) -> None:
    after = newest(shared)
    order = new_order(shared)
    shares = [
        booked(shared.pay(order, fields={"order_total": 60_000, "status": status}))
        for status in ("paid", "pending")
    ]
    shared.settle(shares[1], "failed")
    other = booked(shared.pay(new_order(shared)))
    shared.refund(other)

    def read(**asked: Any) -> list[tuple[str, str]]:
        return [(event["type"], event["subject"]) for event in read_all(shared.url, after, limit=1, **asked)]

    first, second, third = (f"payments/{payment_id}" for payment_id in (*shares, other))
    of_order = [
        ("payment.created", first),
        ("payment.paid", first),
        ("payment.created", second),
        ("payment.failed", second),
    ]
    assert read(order_id=order) == of_order
    assert read(payment_id=shares[1]) == of_order[2:]
    assert read(order_id=order, payment_id=other) == []
    assert read(type="payment.created") == [("payment.created", each) for each in (first, second, third)]
    assert read(type="payment.paid") == [("payment.paid", first), ("payment.paid", third)]
    assert read(type="payment.failed") == [("payment.failed", second)]
    assert read(type="payment.refunded", order_id=order) == []
    assert [kind for kind, _ in read(type="refund.created")] == ["refund.created"]


def test_the_cursor_of_an_empty_page_has_come_to_the_end(shared: Service) -> None:
    """A reader of a rare type does not read the whole log again and again."""
    booked(shared.pay(new_order(shared)))
    page = shared.http.get("/events", params={"type": "key.revoked"}).json()
    assert page["events"] == []
    assert page["next_cursor"] == newest(shared)


def test_the_bare_array_of_cloud_events(shared: Service) -> None:
    booked(shared.pay(new_order(shared)))
    as_json = shared.http.get("/events", params={"limit": 2})
    bare = shared.http.get("/events", params={"limit": 2}, headers={"Accept": BATCH})
    assert bare.headers["content-type"] == BATCH
    assert bare.json() == as_json.json()["events"]
    assert bare.links["next"]["url"] == f"/events?limit=2&after={as_json.json()['next_cursor']}"


@pytest.mark.parametrize("cursor", ["x", "", "-1.5", "1", "1.", "01.2", "9007199254740992.1", "٣.٤", "2.1.3"])
def test_what_is_no_cursor_is_refused(shared: Service, cursor: str) -> None:
    for path in ("/events", "/payments/1/events"):
        answer = shared.http.get(path, params={"after": cursor}, headers={"Accept-Language": "en"})
        assert answer.status_code in {400, 404}
        if answer.status_code == 400:
            assert answer.json()["error"].startswith("after ")


def test_a_cursor_of_another_database_is_refused_not_silently_wrong(shared: Service) -> None:
    """After a backup was restored, other events get the ids of those that came after it."""
    booked(shared.pay(new_order(shared)))
    number, time_us = newest(shared).split(".")
    for cursor in (f"{number}.{int(time_us) + 1}", f"{int(number) + 2000}.{time_us}", f"1.{time_us}"):
        answer = shared.http.get(
            "/events", params={"after": cursor}, headers={"Accept": "application/problem+json"}
        )
        assert answer.status_code == 410
        assert answer.json()["type"] == "urn:payment:problem:cursor-gone"
        assert answer.json()["field"] == "after"


def test_an_empty_answer_is_held_until_something_comes(shared: Service) -> None:
    after = newest(shared)

    def ask(wait_s: int, after: str) -> httpx.Response:
        with http_client(shared.url, timeout_s=60) as http:
            return http.get("/events", params={"after": after}, headers={"Prefer": f"wait={wait_s}"})

    nothing = ask(1, after)
    assert nothing.json()["events"] == []
    assert nothing.json()["next_cursor"] == after
    assert nothing.elapsed.total_seconds() >= 0.9
    for _ in range(10):  # on a slow machine the payment may be there before the question is
        answers: list[httpx.Response] = []
        question = partial(ask, 30, newest(shared))
        asking = threading.Thread(target=lambda: answers.append(question()))  # noqa: B023  # joined below
        asking.start()
        wait_for(
            lambda: scrape(shared).value("payment_requests_in_flight") == 2,
            what="the question and the scrape",
        )
        booked(shared.pay(new_order(shared)))
        asking.join(60)
        assert answers[0].elapsed.total_seconds() < 20
        if "preference-applied" in answers[0].headers:
            break
    assert answers[0].headers["preference-applied"] == "wait"
    assert [event["type"] for event in answers[0].json()["events"]] == ["payment.created", "payment.paid"]


class Streaming(threading.Thread):
    """Reads a stream in a thread; `lines` are those that came."""

    def __init__(self, url: str, headers: dict[str, str] | None = None, **asked: Any) -> None:
        super().__init__(daemon=True)
        self._url, self._asked = url, asked
        self._headers = {"Accept": STREAM} | (headers or {})
        self.lines: list[str] = []
        self.has_ended_well = False
        self.start()

    def run(self) -> None:
        """Read to the end."""
        with (
            suppress(httpx.TransportError),  # the service was killed
            http_client(self._url, timeout_s=30) as http,
            http.stream("GET", "/events", params=self._asked, headers=self._headers) as answer,
        ):
            assert answer.headers["content-type"] == STREAM
            for line in answer.iter_lines():
                self.lines.append(line)
            self.has_ended_well = True

    def events(self) -> list[dict[str, Any]]:
        """Return the events that came."""
        return [json.loads(line[6:]) for line in self.lines if line.startswith("data: ")]


def test_a_stream_sends_what_is_there_and_then_what_comes(start: Start) -> None:
    service = start("serve", "--no-worker")
    service.pay(1)
    stream = Streaming(service.url)
    wait_for(lambda: len(stream.events()) == 2, what="what is there")
    service.pay(2)
    wait_for(lambda: len(stream.events()) == 4, what="what comes")
    assert stream.lines[0] == "retry: 2000"
    last = stream.events()[1]
    place = stream.lines.index(f"id: {last['id']}")
    assert stream.lines[place + 1] == "event: payment.paid"
    assert stream.events() == read_all(service.url)
    again = Streaming(service.url, {"Last-Event-ID": last["id"]})
    wait_for(lambda: again.events() == stream.events()[2:], what="what came after it")
    only = Streaming(service.url, type="payment.created", after=last["id"])
    wait_for(lambda: [event["subject"] for event in only.events()] == ["payments/2"], what="the filter")
    assert service.stop() == 0
    for each in (stream, again, only):
        each.join(30)
        assert each.has_ended_well, "the end of the service is a good end of the stream"


def test_held_answers_leave_room_for_payments(start: Start) -> None:
    service = start("serve", "--no-worker", REQUESTS_MAX="8")

    def held() -> httpx.Response:
        with http_client(service.url, timeout_s=60) as http:
            return http.get("/events", params={"after": "newest"}, headers={"Prefer": "wait=30"})

    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(held) for _ in range(3)]
        wait_for(lambda: sum(answer.done() for answer in answers) == 1, what="a quarter may be held")
        assert booked(service.pay(1))
        statuses = sorted(answer.result().status_code for answer in answers)
    assert statuses == [200, 200, 503]


def test_head_of_a_stream_has_an_end(shared: Service) -> None:
    assert shared.http.head("/events", headers={"Accept": STREAM}).status_code == 200


def test_what_nobody_settles_in_time_fails_by_expiry(start: Start) -> None:
    service = start(PENDING_EXPIRES_S="0.2")
    payment_id = booked(service.pay(1, fields=PENDING, X_Request_Id="r-1"))
    made, failed = wait_for(lambda: found if len(found := story(service, payment_id)) == 2 else [])
    assert (made["actor"], made["requestid"]) == ("anybody", "r-1")
    assert (failed["type"], failed["actor"]) == ("payment.failed", "expiry")
    assert "requestid" not in failed
    assert failed["data"]["status"] == "failed"


def test_what_dies_and_is_told_again_is_in_the_log(start: Start, order: Stub) -> None:
    service = start()
    order.fault(answer=400)
    payment_id = booked(service.pay(1, X_Request_Id="r-paid", traceparent=TRACE))
    wait_until_all_told(service)
    order.heal()
    (dead,) = [event for event in story(service, payment_id) if event["type"] == "notification.dead"]
    assert (dead["actor"], dead["requestid"], dead["traceparent"]) == ("worker", "r-paid", TRACE)
    assert dead["subject"] == f"notifications/{dead['data']['id']}"
    assert (dead["data"]["state"], dead["data"]["service"], dead["data"]["told"]) == ("dead", "order", None)
    service.http.post(f"/{dead['subject']}/retry", headers={"X-Request-Id": "r-again"})
    wait_until_all_told(service)
    retried = story(service, payment_id)[-1]
    assert (retried["type"], retried["actor"], retried["requestid"]) == (
        "notification.retried",
        "anybody",
        "r-again",
    )
    assert retried["data"]["state"] == "waiting"
    assert order.states() == {1: "paid"}


def test_one_payment_can_be_followed_through_the_logs(start: Start, order: Stub) -> None:
    service = start(LOG_LEVEL="debug")
    order.fault(answer=503, times=1)
    booked(service.pay(1, X_Request_Id="follow-me"))
    wait_until_all_told(service)

    def said() -> set[str]:
        return {line["event"] for line in service.log() if line.get("request_id") == "follow-me"}

    wait_for(lambda: said() >= {"could not tell", "told"})


def test_the_command_line_reads_the_same_log(start: Start, order: Stub) -> None:
    service = start(RETRY_FOR_S="0.1")
    order.fault(answer=400)
    payment_id = booked(service.pay(1, X_Request_Id="r-1"))
    wait_until_all_told(service)
    order.heal()
    assert service.cli("notifications", "retry", "--all-dead").returncode == 0
    wait_until_all_told(service)
    everything = read_all(service.url)
    assert by_subject(everything)[f"payments/{payment_id}"] == ["payment.created", "payment.paid"]
    assert everything[-1]["type"] == "notification.retried"
    assert everything[-1]["actor"].startswith("cli:")

    def events(*arguments: str) -> list[dict[str, Any]]:
        run = service.cli("events", "--json", *arguments)
        assert (run.returncode, run.stderr) == (0, "")
        return [json.loads(line) for line in run.stdout.splitlines()]

    assert events() == everything
    assert events("--all") == everything
    assert events("--limit", "2") == everything[-2:]
    assert events("--after", everything[0]["id"]) == everything[1:]
    assert events("--type", "notification.dead") == [
        e for e in everything if e["type"] == "notification.dead"
    ]
    assert events("--order", "1") == events("--payment", str(payment_id)) == everything
    assert events("--order", "2") == []
    shown = service.cli("events").stdout.splitlines()
    assert [line.split()[1] for line in shown] == [event["type"] for event in everything]
    assert all(event["actor"] in line for event, line in zip(everything, shown, strict=True))
    wrong = service.cli("events", "--after", "9999.9999")
    assert wrong.returncode == 1
    assert "--after" in wrong.stderr
