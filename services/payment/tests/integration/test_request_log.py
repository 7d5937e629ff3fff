"""A line of each request, and what no log, error, metric or event may hold."""

import json
from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import make_url

from key_holders import holder
from processes import Service, Stub, wait_for, wait_until_all_told
from scrapes import scrape, scrape_worker

Start = Callable[..., Service]
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
TOKENS = {"ORDER_SERVICE_TOKEN": "token-of-order-7Qx", "USER_SERVICE_TOKEN": "token-of-user-8Wy"}
PASSWORD = "password-of-the-database-5Rk"  # to be searched for
PERSONAL = "Ibu Siti Rahayu 0812-3456-7890"


def lines(service: Service) -> list[dict[str, object]]:
    """Return the lines of requests that a service has logged."""
    return [line for line in service.log() if line["event"] == "request"]


def line_of(service: Service, request_id: str) -> dict[str, object]:
    """Return the line of a request, once it is there."""

    def found() -> list[dict[str, object]]:
        return [line for line in lines(service) if line["request_id"] == request_id]

    (line,) = wait_for(found)
    return line


def test_a_line_says_what_was_asked_and_how_it_ended(start_alone: Service) -> None:
    for number, (status, body) in enumerate([(201, {"order_id": 1}), (409, {"order_id": 1}), (400, {})]):
        answer = start_alone.http.post(
            "/payments",
            json={"user_id": 1, "amount": 1, **body},
            headers={"X-Request-Id": f"asked-{number}", "traceparent": TRACEPARENT},
        )
        assert answer.status_code == status
        line = line_of(start_alone, f"asked-{number}")
        assert (line["operation"], line["status"], line["level"]) == ("create_payment", status, "info")
        assert isinstance(line["duration_ms"], float)
        assert 0 < line["duration_ms"] < 10_000
        assert line.get("trace_id") == (None if status == 400 else TRACE_ID)
        assert "left_out" not in line
    answer = start_alone.http.get("/nothing/at/all")
    line = line_of(start_alone, answer.headers["x-request-id"])
    assert (line["operation"], line["status"]) == ("none", 404)


def test_a_line_says_whose_key_it_was(start_keyed: Start) -> None:
    service = start_keyed()
    dining = holder(service, "payments:read", client="meja-7")
    line = line_of(service, dining.get("/payments").headers["x-request-id"])
    assert line["client"] == "meja-7"
    refused = service.http.get("/payments")
    assert "client" not in line_of(service, refused.headers["x-request-id"])


def test_a_payment_is_followed_by_its_request_id_through_api_and_worker(start: Start, order: Stub) -> None:
    api, worker = start("serve", "--no-worker"), start("worker", LOG_LEVEL="debug")
    order.fault(answer=503, times=1)
    api.pay(1, X_Request_Id="followed")
    wait_until_all_told(api)
    assert line_of(api, "followed")["status"] == 201

    def said() -> Counter[object]:
        return Counter(line["event"] for line in worker.log() if line.get("request_id") == "followed")

    wait_for(lambda: said()["told"] >= 2)
    assert said()["could not tell"] == 1


def test_of_a_flood_only_so_many_lines_are_written_and_the_next_says_how_many_not(
    start: Start,
) -> None:
    service = start("serve", "--no-worker", LOG_REQUESTS_MAX="3")

    def ask_until_lines_are_left_out() -> bool:
        for _ in range(10):
            service.http.get("/healthz")
        return any("left_out" in line for line in lines(service))

    wait_for(ask_until_lines_are_left_out)
    service.http.get("/nothing")
    wait_for(lambda: any(line["status"] == 404 for line in lines(service)), what="classes apart")
    asked = scrape(service).value("payment_requests_total", operation="live")
    written = [line for line in lines(service) if line["status"] == 200]
    left_out = sum(int(str(line.get("left_out", 0))) for line in written)
    assert len(written) < asked
    assert len(written) + left_out <= asked + 1
    per_second = Counter(str(line["timestamp"])[:19] for line in written)
    assert max(per_second.values()) <= 2 * 3, "the seconds of the log are not those of the count"


def test_no_line_is_written_where_none_is_wanted(start: Start) -> None:
    service = start("serve", "--no-worker", LOG_REQUESTS_MAX="0")
    service.http.get("/healthz")
    service.http.get("/nothing")
    assert service.stop() == 0
    assert lines(service) == []


@pytest.mark.parametrize("level", ["debug", "info"])
def test_no_secret_and_nothing_personal_stands_in_a_log_an_error_a_metric_or_an_event(
    start: Start, order: Stub, database_url: str, level: str
) -> None:
    """Why money was given back is the refund's own, so it is in the refund and its event, and only there."""
    url = make_url(database_url)
    if url.get_backend_name() == "postgresql":
        url = url.set(password=PASSWORD)  # the server trusts whoever comes from this machine
    settings = {"DATABASE_URL": url.render_as_string(hide_password=False), "AUTH": "keys", **TOKENS}
    api = start("serve", "--no-worker", LOG_LEVEL=level, **settings)
    worker = start("worker", LOG_LEVEL=level, METRICS_PORT="0", **settings)
    admin = holder(api, "admin", client="kantor")
    order.fault(answer=400, body=json.dumps({"error": "no"}), times=1)
    secret_key = "idempotency-key-4Tz"
    sent = [
        admin.post(path, json=body, headers={"Idempotency-Key": secret_key, "Cookie": "session=cookie-3Vm"})
        for path, body in [
            ("/payments", {"order_id": 1, "user_id": 1, "amount": 500}),
            ("/payments", {"order_id": 1, "user_id": 1, "amount": 501}),  # the key again: 422
            ("/payments", {"order_id": 2, "user_id": 1, "amount": PERSONAL}),
            ("/payments/1/refunds", {"amount": 100, "reason": PERSONAL}),
            ("/payments/1/refunds", {"amount": 10**9, "reason": PERSONAL}),
            ("/nowhere", {"reason": PERSONAL}),
        ]
    ]
    assert [answer.status_code for answer in sent] == [201, 422, 400, 201, 422, 404]
    wait_for(lambda: scrape_worker(worker).value("payment_delivery_attempts_total") >= 2)
    wait_for(lambda: "payment_ready" in admin.get("/metrics").text)
    said = [admin.get("/metrics").text, admin.get("/notifications").text]
    said += [f"{answer.headers} {answer.text}" for answer in sent if answer.status_code != 201]
    events = admin.get("/events").json()["events"]
    said += [json.dumps(event) for event in events if not event["type"].startswith("refund.")]
    for service in (api, worker):
        assert service.stop() == 0
        said += service.process.lines
    for secret in (*TOKENS.values(), PASSWORD, admin.secret, secret_key, "cookie-3Vm", PERSONAL):
        assert [text for text in said if secret in text] == []
