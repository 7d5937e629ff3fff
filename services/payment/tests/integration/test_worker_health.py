"""`/healthz` at METRICS_PORT: a worker is well while its lanes turn."""

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from payment.core.settings import read_settings
from payment.ledger import claims
from payment.storage.base import Database
from payment.storage.opening import open_database
from payment.telling import pulse
from payment.telling.worker import Worker
from payment.watching.exposition import Exposition
from payment.watching.server import serve_metrics
from processes import http_client, wait_for


@pytest.fixture
def database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The database that the settings name."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    with closing(open_database(make_url(database_url))) as opened:
        yield opened
        # a scrape does not wait for its census long, and what that gives back after the end nobody closes
        wait_for(lambda: all(thread.name != "census" for thread in threading.enumerate()))


@pytest.fixture
def worker(database: Database) -> Iterator[Worker]:
    """A worker that has not begun; it is stopped at the end."""
    made = Worker(database, read_settings())
    yield made
    made.stop()


@pytest.fixture
def hangs(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Once set, Order's lane hangs in its look at the outbox until the test ends."""
    hang, end = threading.Event(), threading.Event()
    real = claims.next_due_us

    def next_due_us(connection: Any, neighbour: Any, *arguments: Any, **options: Any) -> int | None:
        if hang.is_set() and neighbour.name == "order":
            end.wait(30)
        return real(connection, neighbour, *arguments, **options)

    monkeypatch.setattr(claims, "next_due_us", next_due_us)
    yield hang
    end.set()


def test_a_worker_whose_lane_hangs_is_not_healthy_and_says_which(
    database: Database, worker: Worker, monkeypatch: pytest.MonkeyPatch, hangs: threading.Event
) -> None:
    monkeypatch.setattr(pulse, "STUCK_AFTER_S", 0.3)
    worker.start()
    metrics = serve_metrics("127.0.0.1", 0, Exposition(database), worker.stuck)
    with http_client(metrics.removesuffix("/metrics")) as http:

        def says(status: int, body: dict[str, Any]) -> bool:
            answer = http.get("/healthz")
            return (answer.status_code, answer.json()) == (status, body)

        wait_for(lambda: says(200, {"status": "ok"}))
        hangs.set()
        worker.wake()
        wait_for(lambda: says(503, {"status": "stuck", "lanes": ["order"]}))
        assert "payment_told" in http.get("/metrics").text, "it is still scraped"


def test_a_lane_whose_thread_ended_is_not_healthy(worker: Worker) -> None:
    assert worker.stuck() == ["order", "user"], "none has begun"
    worker.start()
    assert worker.stuck() == []
    worker.stop()
    assert worker.stuck() == [], "it was told to end"
