"""Traces: from the POST to its PUTs, through two processes, as a collector gets them."""

import json
import re
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from collector import Collector, Span
from key_holders import holder
from payment.storage.opening import open_database
from payment_life import booked
from processes import Service, Stub, Waiting, http_client, wait_for, wait_until_settled, wait_until_told
from programs import Process

Start = Callable[..., Service]

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
CALLERS = f"00-{TRACE}-{CALLER}-01"


@pytest.fixture
def collector(end: ExitStack) -> Collector:
    """A running collector."""
    collector = Collector()
    end.callback(collector.close)
    return collector


@pytest.fixture
def traced(start: Start, collector: Collector) -> tuple[Service, Service]:
    """An API and a worker, each a process of its own, that export traces."""
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    return start("serve", "--no-worker", **settings), start("worker", **settings)


def all_spans(collector: Collector, *services: Service) -> list[Span]:
    """End the services in order, which exports what they still have, and return all."""
    assert [service.stop() for service in services] == [0] * len(services)
    return collector.spans()


def only(spans: list[Span], name: str) -> Span:
    """Return the one span of this name."""
    (span,) = [span for span in spans if span.name == name]
    return span


def test_one_trace_leads_from_the_callers_request_to_both_puts(
    traced: tuple[Service, Service], collector: Collector, order: Stub, user: Stub
) -> None:
    api, worker = traced
    payment_id = booked(api.pay(7, user_id=9, traceparent=CALLERS))
    events = api.http.get(f"/payments/{payment_id}/events").json()["events"]
    wait_until_told(order, 7)
    wait_until_told(user, 9)
    wait_until_settled(api, 2)
    spans = all_spans(collector, worker, api)
    mine = [span for span in spans if span.trace == TRACE]
    post, queue, batch, commit = (only(mine, name) for name in ("POST /payments", "queue", "batch", "commit"))
    tell_order = only(mine, "PUT /orders/{order_id}/payment")
    tell_user = only(mine, "PUT /users/{user_id}/payment-service")
    assert len(mine) == 6

    assert (post.kind, post.parent) == ("SERVER", CALLER)
    assert {span.parent for span in mine if span is not post} == {post.id}
    assert {span.kind for span in (queue, batch, commit)} == {"INTERNAL"}
    assert {tell_order.kind, tell_user.kind} == {"CLIENT"}
    assert commit.links == (batch.id,)
    assert not any(span.failed for span in mine)
    assert {event["traceparent"] for event in events} == {post.traceparent}
    assert order.received(7)[0]["traceparent"] == tell_order.traceparent
    assert user.received(9)[0]["traceparent"] == tell_user.traceparent

    assert post.began_ns <= queue.began_ns <= queue.ended_ns <= batch.began_ns <= commit.began_ns
    assert commit.ended_ns <= batch.ended_ns
    assert commit.ended_ns <= post.ended_ns
    assert batch.began_ns <= tell_order.began_ns

    assert post.facts == {
        "http.request.method": "POST",
        "http.route": "/payments",
        "http.response.status_code": 201,
        "url.scheme": "http",
        "url.path": "/payments",
        "network.protocol.version": "1.1",
    }
    assert batch.facts == {"payment.batch.size": 1}
    notification = next(row for row in api.notifications() if row["service"] == "order")
    host, port = order.url.removeprefix("http://").split(":")
    assert tell_order.facts == {
        "http.request.method": "PUT",
        "http.response.status_code": 200,
        "url.template": "/orders/{order_id}/payment",
        "server.address": host,
        "server.port": int(port),
        "payment.service": "order",
        "payment.id": payment_id,
        "payment.notification.id": notification["id"],
        "payment.attempt": 1,
        "payment.outcome": "delivered",
    }
    assert {span.resource["service.name"] for span in spans} == {"payment"}
    assert all(span.resource["service.version"] for span in spans)


def test_each_attempt_is_a_span_that_says_what_came_of_it(
    traced: tuple[Service, Service], collector: Collector, order: Stub
) -> None:
    api, worker = traced
    order.fault(answer=503, times=1)
    api.pay(7, traceparent=CALLERS)
    wait_until_told(order, 7)
    wait_until_settled(api, 2)
    spans = all_spans(collector, worker, api)
    post = only(spans, "POST /payments")
    first, again = (span for span in spans if span.facts.get("payment.service") == "order")
    assert (first.parent, again.parent) == (post.id, post.id)
    assert [put["traceparent"] for put in order.received(7)] == [first.traceparent, again.traceparent]
    said = [(span.facts["payment.attempt"], span.facts["payment.outcome"]) for span in (first, again)]
    assert said == [(1, "outage"), (2, "delivered")]
    assert (first.failed, first.facts["http.response.status_code"]) == (True, 503)
    assert first.facts["error.type"] == "503"
    assert (again.failed, again.facts["http.response.status_code"]) == (False, 200)


def test_an_attempt_without_an_answer_has_no_status_code(
    traced: tuple[Service, Service], collector: Collector, order: Stub
) -> None:
    api, worker = traced
    order.fault(drop="after", times=1)
    api.pay(7)
    wait_for(lambda: len(order.received(7)) == 2)
    first, _again = (
        span for span in all_spans(collector, worker, api) if span.facts.get("payment.service") == "order"
    )
    assert first.failed
    assert first.facts["error.type"] == "outage"
    assert "http.response.status_code" not in first.facts


def test_requests_that_were_written_together_share_a_batch(
    traced: tuple[Service, Service], collector: Collector
) -> None:
    """Each has a trace of its own that is whole, and its commit names the batch."""
    api, worker = traced
    waiting = Waiting(api, range(1, 31))
    waiting.join()
    assert set(waiting.answers.values()) == {201}
    wait_until_settled(api, 60, within_s=20)
    spans = all_spans(collector, worker, api)
    posts = [span for span in spans if span.name == "POST /payments"]
    assert len({span.trace for span in posts}) == len(posts) == 30
    batches = {span.id: span for span in spans if span.name == "batch"}
    commits = [span for span in spans if span.name == "commit"]
    assert {span.parent for span in commits} == {span.id for span in posts}
    assert {span.parent for span in spans if span.name == "queue"} == {span.id for span in posts}
    for batch in batches.values():
        of_batch = [span for span in commits if span.links == (batch.id,)]
        assert len(of_batch) == batch.facts["payment.batch.size"]
        assert {batch.parent, *batch.links} == {span.parent for span in of_batch}
    assert sum(batch.facts["payment.batch.size"] for batch in batches.values()) == 30


def test_what_the_caller_does_not_sample_is_not_exported_and_goes_on_as_such(
    traced: tuple[Service, Service], collector: Collector, order: Stub
) -> None:
    api, worker = traced
    api.pay(7, traceparent=f"00-{TRACE}-{CALLER}-00")
    wait_until_told(order, 7)
    wait_until_settled(api, 2)
    assert all_spans(collector, worker, api) == []
    version, trace, span, flags = order.received(7)[0]["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "00")
    assert span != CALLER


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_standard_variables_name_the_service_and_choose_what_is_sampled(
    start: Start, collector: Collector, order: Stub
) -> None:
    names = {"OTEL_SERVICE_NAME": "kasir", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=uji"}
    to = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces"}
    headers = {"OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=restoran"}
    sampler = {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}
    service = start("serve", **names, **to, **headers, **sampler)
    service.pay(1)
    service.pay(2, traceparent=CALLERS)
    wait_until_told(order, 1)
    wait_until_told(order, 2)
    wait_until_settled(service, 3)
    spans = all_spans(collector, service)
    assert {span.trace for span in spans} == {TRACE}
    assert {span.kind for span in spans} == {"SERVER", "INTERNAL", "CLIENT"}, "one process may do all of it"
    assert {span.resource["service.name"] for span in spans} == {"kasir"}
    assert {span.resource["deployment.environment.name"] for span in spans} == {"uji"}
    assert collector.headers["x-tenant"] == "restoran"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_refusals_are_no_failures_and_name_nothing_that_a_caller_made_up(
    traced: tuple[Service, Service], collector: Collector
) -> None:
    api, worker = traced
    for method, path in [
        ("GET", "/healthz"),
        ("GET", "/readyz?fresh=1"),
        ("GET", "/metrics"),
        ("GET", "/payments/pk_secret"),
        ("GET", "/payments/999?page=pk_secret"),
        ("GET", "/nothing/pk_secret"),
        ("DELETE", "/payments"),
        ("PROPFIND", "/payments"),
        ("GET", "/bills/1"),
    ]:
        api.http.request(method, path)
    booked(api.pay(1))
    api.pay(1)
    api.http.get("/bills/1")
    spans = all_spans(collector, api, worker)
    served = [(span.name, span.facts["http.response.status_code"]) for span in spans if span.kind == "SERVER"]
    assert served == [
        ("GET /payments/{payment_id}", 400),
        ("GET /payments/{payment_id}", 400),
        ("GET", 404),
        ("DELETE", 405),
        ("HTTP", 405),
        ("GET /bills/{order_id}", 404),
        ("POST /payments", 201),
        ("POST /payments", 409),
        ("GET /bills/{order_id}", 200),
    ]
    assert not any(span.failed for span in spans if span.kind != "CLIENT")
    paths = [span.facts.get("url.path") for span in spans if span.kind == "SERVER"]
    assert paths == [None] * 6 + ["/payments", None, "/bills/1"]
    assert not any(b"secret" in body.lower() for body in collector.bodies)


def test_what_fails_is_marked(start: Start, collector: Collector, database_url: str) -> None:
    api = start("serve", "--no-worker", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    database = open_database(make_url(database_url))
    with database.write() as connection:
        connection.execute(text("ALTER TABLE payments RENAME TO payments_gone"))
    database.close()
    assert api.pay(1, traceparent=CALLERS).status_code in {500, 503}
    spans = all_spans(collector, api)
    assert {span.name: span.failed for span in spans} == {
        "POST /payments": True,
        "queue": False,
        "batch": True,
        "commit": True,
    }
    assert only(spans, "POST /payments").facts["error.type"] in {"500", "503"}


def test_no_secret_stands_in_any_span(start: Start, collector: Collector, database_url: str) -> None:
    url = make_url(database_url)
    if url.get_backend_name() == "postgresql":
        url = url.set(password="geheim-database")  # the server of the tests asks for none
    settings = {
        "DATABASE_URL": url.render_as_string(hide_password=False),
        "AUTH": "keys",
        "ORDER_SERVICE_TOKEN": "geheim-order",
        "USER_SERVICE_TOKEN": "geheim-user",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20geheim-collector",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    api, worker = start("serve", "--no-worker", **settings), start("worker", **settings)
    caller = holder(api, "payments:write", "payments:read", client="kasir-rahasia")
    body = {"order_id": 7, "user_id": 765_432, "amount": 20_000}
    headers = {
        "Idempotency-Key": "geheim-idempotency",
        "User-Agent": "geheim-agent",
        "Cookie": "geheim-cookie",
    }
    assert caller.post("/payments", json=body, headers=headers).status_code == 201
    assert caller.get("/payments?user_id=765432").status_code == 200
    assert caller.get(f"/payments?cursor={caller.key}").status_code == 400
    assert api.http.get(f"/payments/{caller.key}").status_code == 401
    wait_until_settled(api, 2)
    spans = all_spans(collector, worker, api)
    assert len(spans) >= 9
    exported = b"".join(collector.bodies)
    hidden = ["geheim", "rahasia", "765432", caller.secret, caller.id, "127.0.0.1:"]
    assert [each for each in hidden if each.encode() in exported] == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("silent", [True, False], ids=["a collector that never answers", "no collector"])
def test_a_collector_that_is_away_costs_no_payment_and_no_time(
    start: Start, end: ExitStack, order: Stub, *, silent: bool
) -> None:
    """What it costs is spans; the log says so once, without the header that the collector is shown."""
    away = Stub("user")
    end.callback(away.kill)
    endpoint = away.url
    if not silent:
        away.kill()
    else:
        away.process.send_signal(signal.SIGSTOP)  # the kernel takes connections, and nobody answers
    service = start(
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
        OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20geheim,not a header geheim",
        OTEL_BSP_SCHEDULE_DELAY="50",
        OTEL_BSP_MAX_QUEUE_SIZE="16",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="16",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
    )
    assert {service.pay(order_id).status_code for order_id in range(1, 41)} == {201}
    wait_until_told(order, 40)
    wait_for(lambda: any("spans may be lost" in line for line in service.process.lines))
    assert service.stop() == 0, "within ten seconds"
    assert sum("spans may be lost" in line for line in service.process.lines) == 1
    assert not any("geheim" in line or "Traceback" in line for line in service.process.lines)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_who_asks_for_no_traces_loads_nothing_of_opentelemetry(
    database_url: str, order: Stub, user: Stub, tmp_path: Path
) -> None:
    """Started as people do, and every import said."""
    neighbours = {"ORDER_SERVICE_URL": order.url, "USER_SERVICE_URL": user.url}
    settings = {"DATABASE_URL": database_url, "LOG_FORMAT": "json", "PORT": "0", "OTEL_SERVICE_NAME": "kasir"}
    command = [sys.executable, "-X", "importtime", "-m", "payment", "serve"]
    process = Process(command, settings | neighbours, tmp_path)
    url = json.loads(process.line_with('"listening"'))["url"]
    with http_client(url) as http:
        body = {"order_id": 1, "user_id": 1, "amount": 1}
        assert http.post("/payments", json=body, headers={"traceparent": CALLERS}).status_code == 201
    wait_until_told(order, 1)
    assert process.stop() == 0
    imported = {found[1] for line in process.lines if (found := re.search(r"\| +([\w.]+)$", line.rstrip()))}
    assert {"payment.telling.delivery", "payment.web.traces"} <= imported
    assert [name for name in imported if "opentelemetry" in name or name == "payment.core.otel"] == []
    assert order.received(1)[0]["traceparent"].split("-")[1] == TRACE
