"""What an operator sees of the stack: metrics of every process, and one trace from the POST to its PUTs."""

from collections.abc import Iterator

import pytest

from collector import Collector
from processes import wait_for
from scrapes import Scrape
from stack import NEIGHBOURS, PROJECT, TOLD_WITHIN_S, Stack

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLERS = f"00-{TRACE}-00f067aa0ba902b7-01"
PROCESSES = 2
"""Of an API replica, as docker-compose.yml has it."""

READ = "import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1]).read().decode())"


def scrape(stack: Stack, url: str) -> Scrape:
    """Scrape a service as another container does."""
    code, output = stack.container("worker").exec_run(["python", "-c", READ, url])
    assert code == 0, output
    return Scrape(output.decode())


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that containers reach too."""
    collector = Collector("0.0.0.0")
    yield collector
    collector.close()


def test_the_metrics_of_api_and_worker_are_there_for_who_scrapes(up: Stack) -> None:
    assert up.pay(7).status_code == 201
    for neighbour in NEIGHBOURS:
        up.wait_until_told(neighbour, {7}, TOLD_WITHIN_S)

    def told() -> Scrape | None:
        seen = scrape(up, "http://worker:9464/metrics")
        return seen if seen.value("payment_told_seconds_count") == len(NEIGHBOURS) else None

    worker = wait_for(told)
    assert isinstance(worker, Scrape)
    assert worker.value("payment_told_seconds_bucket", le="2.0") == len(NEIGHBOURS), "the objective"
    api = scrape(up, "http://port:5004/metrics")
    assert api.value("payment_requests_total", operation="create_payment", status="201") == 1
    wait_for(
        lambda: scrape(up, "http://port:5004/metrics").value("payment_ready") == 1, what="said once for all"
    )

    up.compose("up", "--detach", "--wait", "--no-recreate", "--scale", "api=2")

    def both() -> Scrape | None:
        seen = scrape(up, "http://port:5004/metrics")
        return seen if len(seen.values_of("payment_build_info", "process")) == 2 * PROCESSES else None

    replicas = wait_for(both, what="one scrape with both replicas")
    assert isinstance(replicas, Scrape)
    assert replicas.value("payment_requests_total", operation="create_payment", status="201") == 1


def test_one_trace_leads_from_the_post_to_both_puts(stack: Stack, collector: Collector) -> None:
    stack.make("up")
    (network,) = stack.engine.networks.list(names=[f"{PROJECT}_default"])
    gateway = network.attrs["IPAM"]["Config"][0]["Gateway"]
    port = collector.url.rpartition(":")[2]
    stack.make("up", f"OTEL_EXPORTER_OTLP_ENDPOINT=http://{gateway}:{port}")
    assert stack.pay(7, traceparent=CALLERS).status_code == 201
    for neighbour in NEIGHBOURS:
        stack.wait_until_told(neighbour, {7}, TOLD_WITHIN_S)

    def names() -> set[str]:
        return {span.name for span in collector.spans() if span.trace == TRACE}

    puts = {"PUT /orders/{order_id}/payment", "PUT /users/{user_id}/payment-service"}
    wait_for(lambda: names() == {"POST /payments", "queue", "batch", "commit", *puts}, 30)
    spans = [span for span in collector.spans() if span.trace == TRACE]
    (post,) = [span for span in spans if span.name == "POST /payments"]
    assert {span.parent for span in spans if span is not post} == {post.id}
    received = {put["traceparent"] for neighbour in NEIGHBOURS for put in stack.received(neighbour)}
    assert received == {span.traceparent for span in spans if span.name in puts}
