"""What the database cannot store: it is checked at the start, and costs nobody but who asked for it."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from uuid import uuid4
from zoneinfo import ZoneInfo

import psycopg
import pytest
from sqlalchemy import URL, make_url

from forked import run as run_program
from payment.core.business_day import BusinessDays
from payment.core.cause import Cause
from payment.core.errors import CannotBeStored
from payment.core.states import Method
from payment.ledger.idempotency import BookedAnswer
from payment.ledger.ledger import Ledger
from payment.ledger.requests import BookingRequest, PaymentRequest, RefundRequest
from payment.storage.errors import UnfitDatabase
from payment.storage.migrate import upgrade
from payment.storage.opening import open_current, open_database
from payment_life import booked
from postgres import drop_database
from processes import Service

EMOJI = "dikembalikan \U0001f600"


def execute(url: URL, statement: str) -> None:
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture
def other(request: pytest.FixtureRequest, postgres: URL) -> Iterator[URL]:
    """The URL of an empty database of another encoding."""
    name = f"other_{uuid4().hex}"
    kind = f"ENCODING '{request.param}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0 STRATEGY file_copy"
    execute(postgres, f'CREATE DATABASE "{name}" {kind}')
    yield postgres.set(database=name)
    drop_database(postgres, name)


@pytest.mark.parametrize("other", ["LATIN1", "SQL_ASCII"], indirect=True)
def test_a_database_of_another_encoding_is_refused_in_one_line(
    other: URL, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    encoding = request.node.callspec.params["other"]
    settings = {"PATH": os.environ["PATH"], "PORT": "0", "PGCLIENTENCODING": "LATIN1"}
    settings["DATABASE_URL"] = other.render_as_string(hide_password=False)
    for command in ("migrate", "serve", "worker"):
        ended = run_program("payment", [command], env=settings, cwd=tmp_path, timeout_s=30)
        assert ended.returncode == 1
        assert ended.stderr.count("\n") == 1, ended.stderr
        assert ended.stderr.startswith("Basis data tidak dapat dipakai / the database cannot be used: ")
        assert f"is {encoding}, not UTF8" in ended.stderr
    database = open_database(other)
    assert database.schema_revision() is None, "nothing was added"
    with pytest.raises(UnfitDatabase):
        database.migrate()
    with database.migrating() as connection:
        upgrade(connection)  # as a version did that did not look
    with pytest.raises(UnfitDatabase):
        open_current(other)
    database.close()


@pytest.mark.parametrize("other", ["LATIN1"], indirect=True)
@pytest.mark.parametrize("way", ["always", "never"])
def test_what_it_cannot_store_costs_only_who_asked_for_it(other: URL, way: str) -> None:
    """Ten refunds with an emoji, and ten payments that it cannot store, among others of the same batches."""
    database = open_database(other)
    with database.migrating() as connection:
        upgrade(connection)
    new = [PaymentRequest(order_id, 1, 20_000, Method.CASH) for order_id in range(1, 31)]
    unlucky = Cause(EMOJI)
    mixed: list[BookingRequest] = [
        RefundRequest(n, reason=EMOJI if n % 3 == 0 else "kembali") for n in range(1, 31)
    ]
    alike: list[BookingRequest] = [
        PaymentRequest(order_id, 1, 20_000, Method.CASH, cause=unlucky if order_id % 3 == 0 else Cause())
        for order_id in range(31, 61)
    ]

    async def book(requests: Sequence[BookingRequest]) -> list[bool]:
        """Say of each whether it was booked; else the database cannot store it."""
        answers = await asyncio.gather(*map(ledger.book, requests), return_exceptions=True)
        assert {type(each) for each in answers} <= {BookedAnswer, CannotBeStored}, answers
        return [isinstance(each, BookedAnswer) for each in answers]

    async def book_all() -> None:
        assert all(await book(new))
        for requests in (mixed, alike):
            booked = await book(requests)
            assert booked == [nth % 3 != 0 for nth in range(1, 31)]
        assert await book([PaymentRequest(99, 1, 20_000, Method.CASH)]) == [True]
        await database.aclose()

    ledger = Ledger(
        database,
        batch_max=64,
        queue_max=64,
        booked=lambda: None,
        days=BusinessDays(ZoneInfo("Asia/Jakarta")),
        unread=way,  # type: ignore[arg-type]  # a parameter is any text
    )
    asyncio.run(book_all())


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_over_http_it_is_422_in_words_and_changes_nothing(start_alone: Service, database_url: str) -> None:
    """A column that somebody has made narrower stands for whatever a database may refuse."""
    execute(make_url(database_url), "ALTER TABLE refunds ALTER reason TYPE varchar(5)")
    ids = [booked(start_alone.pay(order_id)) for order_id in range(1, 31)]
    asked = [(each, {"reason": "terlalu panjang" if each == ids[6] else "ya"}) for each in ids]
    with ThreadPoolExecutor(15) as pool:
        answers = list(pool.map(lambda each: start_alone.refund(*each, Idempotency_Key="k"), asked[:1]))
        answers += pool.map(lambda each: start_alone.refund(*each), asked[1:])
    assert [answer.status_code for answer in answers] == [422 if each == ids[6] else 201 for each in ids]
    problem = start_alone.refund(
        *asked[6], Accept="application/problem+json", Accept_Language="en", Idempotency_Key="again"
    )
    assert problem.json() == {
        "type": "urn:payment:problem:cannot-be-stored",
        "title": HTTPStatus(422).phrase,
        "status": 422,
        "detail": "The database cannot store what this request holds",
    }
    assert answers[6].json() == {"error": "Basis data tidak dapat menyimpan isi permintaan ini"}
    assert start_alone.http.get(f"/payments/{ids[6]}").json()["status"] == "paid"
    assert start_alone.refund(ids[6], {"reason": "ya"}, Idempotency_Key="again").status_code == 201
