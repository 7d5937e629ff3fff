"""Booked once: a repeated key, a database that refuses or is locked, a process that is killed."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from threading import Barrier
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import make_url, text

from conftest import ALSO_POOLED
from payment.core.business_day import BusinessDays
from payment.core.errors import Unexpected
from payment.core.states import Method
from payment.ledger.booking import decide
from payment.ledger.idempotency import BookedAnswer
from payment.ledger.ledger import Ledger
from payment.ledger.requests import PaymentRequest
from payment.storage.opening import open_database
from processes import Service, wait_for

pytestmark = ALSO_POOLED

Result = TypeVar("Result")


def race(calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """Make all calls at the same moment, each in a thread of its own."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Result]) -> Result:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_a_replay_is_the_first_answer_byte_for_byte_also_after_a_restart(
    start_alone: Service,
) -> None:
    first = start_alone.pay(1, Idempotency_Key="k")
    start_alone.kill()
    start_alone.start()
    again = start_alone.pay(1, Idempotency_Key="k")
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers


def test_the_same_key_with_the_same_meaning_replays(start_alone: Service) -> None:
    first = start_alone.pay(1, Idempotency_Key="k")
    same = start_alone.http.post(
        "/payments",
        content='{ "amount": 2e4, "method": "cash", "user_id": 1.0, "order_id": 1, "x": 1 }',
        headers={"Idempotency-Key": "k"},
    )
    assert (same.status_code, same.content) == (201, first.content)


def test_a_refusal_is_not_kept_but_judged_anew(start_alone: Service) -> None:
    assert start_alone.pay(1, amount=0, Idempotency_Key="k").status_code == 400
    assert start_alone.pay(1, Idempotency_Key="other").status_code == 201
    assert start_alone.pay(1, Idempotency_Key="k").status_code == 409
    assert start_alone.pay(2, Idempotency_Key="k").status_code == 201


UNLUCKY = {
    "sqlite": """CREATE TRIGGER unlucky BEFORE INSERT ON payments WHEN new.amount = 13
        BEGIN SELECT raise(ABORT, 'unlucky'); END""",
    "postgresql": """
        CREATE FUNCTION unlucky() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE integrity_constraint_violation USING MESSAGE = 'unlucky'; END $$;
        CREATE TRIGGER unlucky BEFORE INSERT ON payments FOR EACH ROW WHEN (new.amount = 13)
            EXECUTE FUNCTION unlucky()""",
}


def test_a_row_that_the_database_refuses_fails_alone(start_alone: Service, database_url: str) -> None:
    """A trigger stands for any refusal that our rules did not foresee."""
    execute(database_url, UNLUCKY[make_url(database_url).get_backend_name()])
    calls = [lambda n=n: start_alone.pay(n, amount=13 if n == 7 else 20_000) for n in range(1, 31)]
    answers = race(calls)
    assert [answer.status_code for answer in answers] == [500 if n == 7 else 201 for n in range(1, 31)]
    assert set(answers[6].json()) == {"error"}
    assert start_alone.pay(7).status_code == 201


STUBBORN = {
    "sqlite": """CREATE TRIGGER stubborn BEFORE UPDATE ON payments WHEN new.amount = 13
        BEGIN SELECT raise(ABORT, 'stubborn'); END""",
    "postgresql": """
        CREATE FUNCTION stubborn() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE integrity_constraint_violation USING MESSAGE = 'stubborn'; END $$;
        CREATE TRIGGER stubborn BEFORE UPDATE ON payments FOR EACH ROW WHEN (new.amount = 13)
            EXECUTE FUNCTION stubborn()""",
}


def test_a_payment_that_cannot_expire_does_not_keep_the_others(
    start: Callable[..., Service], database_url: str
) -> None:
    execute(database_url, STUBBORN[make_url(database_url).get_backend_name()])
    service = start("serve", "--no-worker", PENDING_EXPIRES_S="0.1")
    pending = {"status": "pending"}
    ids = [
        service.pay(n, amount=13 if n == 1 else 20_000, fields=pending).json()["payment_id"]
        for n in range(1, 6)
    ]
    worker = start("worker", PENDING_EXPIRES_S="0.1")

    def statuses() -> list[str]:
        return [service.http.get(f"/payments/{each}").json()["status"] for each in ids]

    wait_for(lambda: statuses() == ["pending", *["failed"] * 4], 60, "all but the first have failed")
    late = service.pay(6, fields=pending).json()["payment_id"]
    wait_for(lambda: service.http.get(f"/payments/{late}").json()["status"] == "failed", 60)
    worker.stop()  # all that it logged is there
    refusals = [line for line in worker.log() if line["event"] == "a payment cannot expire"]
    assert [line["payment"] for line in refusals] == [ids[0]], "it is tried once"


def test_a_request_at_which_the_rules_fail_fails_alone(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of ours costs its own request a 500, and not those that came with it."""

    def defective(requests: Sequence[PaymentRequest], *others: Any) -> Any:
        if any(each.amount == 13 for each in requests):
            raise KeyError(13)
        return decide(requests, *others)

    monkeypatch.setattr("payment.ledger.batch.decide", defective)

    async def pay_all() -> list[BookedAnswer | BaseException]:
        database = open_database(make_url(database_url))
        ledger = Ledger(
            database,
            batch_max=64,
            queue_max=64,
            booked=lambda: None,
            days=BusinessDays(ZoneInfo("Asia/Jakarta")),
        )
        amounts = [20_000, 13, 20_000]
        orders = [PaymentRequest(n, 1, amount, Method.CASH) for n, amount in enumerate(amounts, start=1)]
        answers = await asyncio.gather(*map(ledger.book, orders), return_exceptions=True)
        await database.aclose()
        return answers

    first, defect, last = asyncio.run(pay_all())
    assert isinstance(defect, Unexpected)
    assert [each.status for each in (first, last) if isinstance(each, BookedAnswer)] == [201, 201]


def test_a_locked_database_is_503_and_books_nothing_then_recovers(
    start_alone: Service, database_url: str
) -> None:
    with locked(database_url):
        refused = start_alone.pay(1)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert set(refused.json()) == {"error"}
    assert start_alone.pay(1).status_code == 201


def test_more_requests_than_may_wait_are_503_at_once(
    start: Callable[..., Service], database_url: str
) -> None:
    service = start("serve", "--no-worker", REQUESTS_MAX="4", BATCH_MAX="2")
    orders = count(1)

    def sixteen_are_refused_before_the_lock_ends() -> bool:
        """On a machine that stalls the other four may have waited for the lock as long as they may."""
        with locked(database_url):
            answers = [pool.submit(service.pay, next(orders)) for _ in range(20)]
            wait_for(lambda: sum(answer.done() for answer in answers) >= 16, 30, "refusals")
            assert service.http.get("/payments").status_code == 200, "who reads has other places"
        statuses = Counter(answer.result().status_code for answer in answers)
        assert statuses.keys() <= {503, 201}
        assert statuses[201] <= 4
        return statuses == {503: 16, 201: 4}

    with ThreadPoolExecutor(20) as pool:
        stand = Barrier(20)  # threads and connections, so that all come at once
        list(pool.map(lambda _: (stand.wait(), service.http.get("/healthz")), range(20)))
        wait_for(sixteen_are_refused_before_the_lock_ends, 60)


def test_acknowledged_payments_are_there_after_a_kill(start_alone: Service) -> None:
    booked = [start_alone.pay(order_id) for order_id in range(1, 6)]
    start_alone.kill()
    start_alone.start()
    for order_id, answer in enumerate(booked, start=1):
        assert start_alone.http.get(answer.headers["location"]).json()["order_id"] == order_id


def execute(database_url: str, statement: str) -> None:
    """Do something to the database behind the service's back."""
    database = open_database(make_url(database_url))
    with database.write() as connection:
        connection.exec_driver_sql(statement)
    database.close()


@contextmanager
def locked(database_url: str) -> Iterator[None]:
    """Hold a lock that no payment gets past."""
    database = open_database(make_url(database_url))
    with database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("LOCK TABLE bills IN ACCESS EXCLUSIVE MODE"))
        yield
        connection.rollback()
    database.close()
