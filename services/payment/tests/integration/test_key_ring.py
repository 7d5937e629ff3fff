"""The keys that every process has in memory: new ones count at once, revoked ones within five seconds."""

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from key_holders import INVALID, REALM, WRONG, Caller, answer_of, holder
from payment.core.cause import Cause
from payment.core.errors import Unavailable
from payment.ledger.key_ring import KeyRing
from payment.ledger.keys import NewKey, create_key, find_key, note_last_use, revoke_key
from payment.storage.base import Database
from payment.storage.opening import open_database
from postgres import PostgresServer, create_database
from processes import Service, http_client, wait_for

StartKeyed = Callable[..., Service]
MINUTE_US = 60_000_000


def status(caller: Caller) -> int:
    code: int = caller.get("/payments?limit=1").status_code
    return code


def test_a_key_counts_at_once_in_every_process(start_keyed: StartKeyed) -> None:
    services = [start_keyed(), start_keyed()]
    for _ in range(5):
        made = holder(services[0], "payments:read")
        assert [status(Caller(service, made.key)) for service in services] == [200, 200]
    admin = holder(services[0], "admin")
    made_there = admin.post("/keys", json={"client": "kasir-2", "scopes": ["payments:read"]}).json()["key"]
    assert [status(Caller(service, made_there)) for service in services] == [200, 200]


def is_refused(caller: Caller, since_s: float) -> bool:
    """Ask; whoever asks later than five seconds after that is let in no more, however slow the machine is."""
    asked_s = time.monotonic()
    code = status(caller)
    assert code != 200 or asked_s - since_s <= 5
    return code == 401


def test_a_revoked_key_is_refused_within_five_seconds_in_every_process(start_keyed: StartKeyed) -> None:
    services = [start_keyed(), start_keyed()]
    by_command, by_http = (holder(services[0], "payments:read") for _ in range(2))
    admin = holder(services[0], "admin")
    callers = [Caller(service, each.key) for service in services for each in (by_command, by_http)]
    assert {status(caller) for caller in callers} == {200}
    services[0].cli("keys", "revoke", by_command.id)
    admin.post(f"/keys/{by_http.id}/revoke")
    revoked_s = time.monotonic()
    for caller in callers:
        wait_for(partial(is_refused, caller, revoked_s))
    assert status(admin) == 200


def test_a_key_is_good_until_the_moment_that_it_expires(start_keyed: StartKeyed) -> None:
    service = start_keyed()
    database = open_database(make_url(service.environment["DATABASE_URL"]))
    with database.write() as connection:
        now_us = time.time_ns() // 1000
        made = create_key(connection, NewKey("k", ["payments:read"], now_us + 1_500_000), Cause(), now_us)
    database.close()
    caller = Caller(service, made.text)
    good_was_asked_us = asked_us = now_us
    while status(caller) == 200:
        good_was_asked_us, asked_us = asked_us, time.time_ns() // 1000
    assert good_was_asked_us < made.row["expires_us"] <= time.time_ns() // 1000
    assert status(caller) == 401


def wrong_keys(service: Service) -> dict[str, list[tuple[str, str]]]:
    """Return the headers of every kind of wrong key."""
    good, revoked, expired = (holder(service, "payments:read") for _ in range(3))
    database = open_database(make_url(service.environment["DATABASE_URL"]))
    with database.write() as connection:
        revoke_key(connection, revoked.id, Cause(), time.time_ns() // 1000)
    database.close()
    expire_now(service, expired.id)

    def bearer(key: str) -> tuple[str, str]:
        return ("Authorization", f"Bearer {key}")

    return {
        "unknown": [bearer(WRONG)],
        "another secret": [bearer(good.key[:-1] + ("a" if good.key[-1] != "a" else "b"))],
        "revoked": [bearer(revoked.key)],
        "expired": [bearer(expired.key)],
        "malformed": [bearer("kasir-1")],
        "too long": [bearer(good.key + "x" * 30_000)],
        "in other bytes": [("Authorization", "Bearer pk_é")],
        "nothing after the scheme": [("Authorization", "Bearer")],
        "two": [bearer(good.key), bearer(good.key)],
        "two, one of them another scheme": [("Authorization", "Basic eDp5"), bearer(good.key)],
    }


def test_every_wrong_key_gets_the_very_same_answer(start_keyed: StartKeyed) -> None:
    service = start_keyed()
    kinds = wrong_keys(service)
    wait_for(lambda: service.http.get("/payments", headers=kinds["revoked"]).status_code == 401)
    answers = {
        kind: service.http.get("/payments", headers=[(n.encode(), v.encode()) for n, v in headers])
        for kind, headers in kinds.items()
    }
    first = answers["unknown"]
    assert (first.status_code, first.headers["www-authenticate"]) == (401, INVALID)
    assert first.json() == {"error": "Kunci API tidak sah"}
    others = [kind for kind, answer in answers.items() if answer_of(answer) != answer_of(first)]
    assert others == []


@pytest.mark.parametrize("given", ["", "Basic a2FzaXI6MQ==", "pk_R7mQ2xVb", "Digest x=1"])
def test_who_brings_no_bearer_token_is_asked_for_one(shared_keyed: Service, given: str) -> None:
    """RFC 6750, 3: no `error=` for whoever does not know that something is asked for."""
    refused = shared_keyed.http.get("/payments", headers={"Authorization": given})
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, REALM)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
def test_the_schemes_name_is_taken_in_any_case(shared_keyed: Service, scheme: str) -> None:
    key = holder(shared_keyed, "payments:read").key
    answer = shared_keyed.http.get("/payments", headers={"Authorization": f"{scheme} {key}"})
    assert answer.status_code == 200


def test_while_many_wrong_keys_come_most_are_refused_at_once_and_good_ones_served(
    start_keyed: StartKeyed,
) -> None:
    service = start_keyed()
    good = holder(service, "payments:read")
    done = threading.Event()
    refused: list[int] = []

    def try_keys() -> None:
        with http_client(service.url, headers={"Authorization": f"Bearer {WRONG}"}) as http:
            while not done.is_set():
                refused.append(http.get("/payments").status_code)

    threads = [threading.Thread(target=try_keys) for _ in range(80)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(refused) > 400, within_s=60)
        assert [status(good) for _ in range(20)] == [200] * 20
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert set(refused) == {401}


def last_used_us(database: Database, key_id: str) -> int | None:
    with database.read() as connection:
        used_us: int | None = find_key(connection, key_id, 0)["last_used_us"]
    return used_us


def test_when_a_key_was_used_last_is_known_to_the_minute_after_the_end(start_keyed: StartKeyed) -> None:
    service = start_keyed()
    used, unused = (holder(service, "payments:read") for _ in range(2))
    before_us = time.time_ns() // 1000
    assert status(used) == 200
    assert status(Caller(service, unused.key[:-2])) == 401
    assert service.stop() == 0
    database = open_database(make_url(service.environment["DATABASE_URL"]))
    noted_us = last_used_us(database, used.id)
    assert noted_us is not None
    assert noted_us % MINUTE_US == 0
    assert before_us - MINUTE_US < noted_us <= time.time_ns() // 1000
    assert last_used_us(database, unused.id) is None, "who only knows its id has not used it"
    database.close()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = open_database(make_url(database_url))
    yield opened
    opened.close()


def test_the_use_of_keys_is_written_now_and_then_and_never_to_an_earlier_time(database: Database) -> None:
    now_us = time.time_ns() // 1000
    with database.write() as connection:
        old, new = (create_key(connection, NewKey("k", ["admin"]), Cause(), now_us) for _ in range(2))
        later_us = now_us + 10 * MINUTE_US
        note_last_use(connection, {old.row["id"]: later_us})  # by another process, whose clock is ahead

    async def use() -> None:
        ring = KeyRing(database, note_use_every_s=0.1)
        await ring.begin()
        assert await ring.find(old.text.encode())
        assert await ring.find(new.text.encode())
        assert last_used_us(database, new.row["id"]) is None, "not on the way of a request"
        async with asyncio.timeout(10):
            while last_used_us(database, new.row["id"]) is None:  # noqa: ASYNC110  # it is in the database
                await asyncio.sleep(0.05)
        await ring.end()
        await database.aclose()

    asyncio.run(use())
    assert last_used_us(database, old.row["id"]) == later_us


def test_those_who_are_refused_meanwhile_share_one_look_and_too_many_wait_for_none(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    read = database.run_read

    async def counted(*arguments: Any, **options: Any) -> Any:
        looks.append(time.monotonic())
        return await read(*arguments, **options)

    monkeypatch.setattr(database, "run_read", counted)  # it still reads

    async def refuse() -> None:
        ring = KeyRing(database)
        await ring.begin()
        began_s = time.monotonic()
        for _ in range(5):
            refused = [asyncio.create_task(ring.find(WRONG.encode())) for _ in range(500)]
            await asyncio.sleep(0)
            assert [each.done() for each in refused].count(False) == 64
            assert await asyncio.gather(*refused) == [None] * 500
        assert time.monotonic() - began_s > 0.35, "each waits for its turn"
        await ring.end()
        await database.aclose()

    asyncio.run(refuse())
    assert 5 <= len(looks) <= 8
    assert all(later - earlier > 0.09 for earlier, later in pairwise(looks))


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that may go away; an SQLite file is read whatever becomes of it."""
    made = PostgresServer()
    yield made
    made.remove()


@pytest.mark.parametrize("how", ["stopped", "frozen"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # for `end`; the test has its own server
def test_while_the_database_is_away_a_key_is_never_called_wrong(
    server: PostgresServer, end: ExitStack, how: str
) -> None:
    """A good key is served for five seconds from memory (what needs no database); then all are 503."""
    url = create_database(server.url, "payment")
    opened = open_database(url)
    opened.migrate()
    opened.close()
    service = Service(
        {"DATABASE_URL": url.render_as_string(hide_password=False), "AUTH": "keys"}, "serve", "--no-worker"
    )
    end.callback(service.kill)
    good, writer = holder(service, "payments:read"), holder(service, "payments:write")
    assert status(good) == 200
    assert writer.get("/payments").status_code == 403
    began_s = time.monotonic()
    assert status(Caller(service, WRONG)) == 401, "the table was looked at since"
    if how == "stopped":
        server.stop()
    else:
        server.send(signal.SIGSTOP)
    away_s = time.monotonic()
    seen: set[tuple[str, int]] = set()

    def too_old() -> bool:  # 403 needs no database: it is said as long as what is known is fresh
        asked_s = time.monotonic()
        answer: int = writer.get("/payments").status_code
        assert answer == 503 or asked_s - away_s <= 5
        seen.update({("good", answer), ("wrong", status(Caller(service, WRONG)))})
        return answer == 503

    wait_for(too_old, within_s=30)
    assert time.monotonic() - began_s > 5
    assert ("wrong", 401) not in seen, "nobody knows: it may have been made just now"
    assert ("good", 401) not in seen
    for caller in (good, writer, Caller(service, WRONG), Caller(service, "kasir-1")):
        answer = caller.get("/payments")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert Caller(service).get("/payments").status_code == 401, "it brings no key: that is known"
    assert Caller(service).get("/healthz").status_code == 200
    if how == "stopped":
        server.start()
    else:
        server.send(signal.SIGCONT)
    wait_for(lambda: status(good) == 200, within_s=60)
    assert status(Caller(service, WRONG)) == 401


def test_a_ring_ends_also_while_a_look_is_wanted(tmp_path: Path, rounds: range) -> None:
    database = open_database(make_url(f"sqlite:///{tmp_path / 'payment.db'}"))
    database.migrate()

    async def end() -> None:
        for _ in rounds:
            ring = KeyRing(database)
            await ring.begin()
            await asyncio.sleep(0)
            refused = asyncio.create_task(ring.find(WRONG.encode()))
            await asyncio.sleep(0)
            async with asyncio.timeout(30):
                await ring.end()
            refused.cancel()

    asyncio.run(end())
    database.close()


def test_a_ring_that_could_never_look_lets_nobody_in(tmp_path: Path) -> None:
    database = open_database(make_url(f"sqlite:///{tmp_path / 'empty.db'}"))  # no tables

    async def find() -> None:
        ring = KeyRing(database)
        await ring.begin()
        with pytest.raises(Unavailable):
            await ring.find(WRONG.encode())
        await ring.end()
        await database.aclose()

    asyncio.run(find())
    database.close()


def test_a_streamed_answer_ends_with_its_key(start_keyed: StartKeyed) -> None:
    """Also one whose reader takes nothing; and a part cannot be taken for the whole."""
    service = start_keyed(WRITE_TIMEOUT_S="120")
    fill(service)
    cases = [(ended_by, reader) for ended_by in ("revoking", "expiry") for reader in ("slow", "silent")]
    for count, (ended_by, reader) in enumerate(cases, start=1):
        arguments = ("--expires", "1m") if ended_by == "expiry" else ()
        made = holder(service, "payments:read", arguments=arguments)
        with a_stream(service, made.key) as wire:
            received = wire.recv(1000)
            assert received.startswith(b"HTTP/1.1 200")
            if ended_by == "revoking":
                service.cli("keys", "revoke", made.id)
            else:
                expire_now(service, made.id)
            wait_for(lambda count=count: str(service.log()).count("broken off") == count, within_s=30)  # type: ignore[misc]  # bound now
            if reader == "slow":
                with suppress(ConnectionResetError):
                    while chunk := wire.recv(65536):
                        received = received[-10:] + chunk
                assert not received.endswith(b"0\r\n\r\n")


def a_stream(service: Service, key: str) -> socket.socket:
    """Ask for all payments as CSV, with room for hardly any of it; return the connection."""
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire.connect(("127.0.0.1", int(service.url.rpartition(":")[2])))
    wire.settimeout(20)
    wire.sendall(
        b"GET /payments HTTP/1.1\r\nHost: localhost\r\nAccept: text/csv\r\n"
        b"Authorization: Bearer " + key.encode() + b"\r\n\r\n"
    )
    return wire


def fill(service: Service) -> None:
    """Book more payments than fit between a server and a reader who does not read (9 MB)."""
    database = open_database(make_url(service.environment["DATABASE_URL"]))
    columns = "id, order_id, user_id, amount, status, method, created_us, updated_us"
    for first in range(1, 100_000, 5_000):  # each within the time that a statement has
        last = first + 5_000 - 1
        numbers = f"WITH RECURSIVE ns(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM ns WHERE n < {last})"
        bills = f"{numbers} SELECT n, 1, 1, 0 FROM ns"
        payments = f"{numbers} SELECT n, n, 1, 1, 'paid', 'cash', n, n FROM ns"
        with database.write() as connection:
            connection.execute(text(f"INSERT INTO bills (order_id, total, paid, pending) {bills}"))
            connection.execute(text(f"INSERT INTO payments ({columns}) {payments}"))
    database.close()


def expire_now(service: Service, key_id: str) -> None:
    database = open_database(make_url(service.environment["DATABASE_URL"]))
    with database.write() as connection:
        connection.execute(text("UPDATE api_keys SET expires_us = 1 WHERE id = :id"), {"id": key_id})
    database.close()


def test_an_answer_that_was_held_back_is_refused_if_its_key_ended_meanwhile(start_keyed: StartKeyed) -> None:
    service = start_keyed()
    till, reader = holder(service, "payments:write"), holder(service, "events:read")
    is_asked = threading.Event()

    def note(event: str, _info: object) -> None:
        if event == "http11.send_request_body.complete":
            is_asked.set()

    def ask() -> int:
        with http_client(service.url, timeout_s=30) as http:
            headers = {"Authorization": f"Bearer {reader.key}", "Prefer": "wait=20"}
            asked = {"after": "newest", "type": "payment.created"}  # not the end of its key
            return http.get("/events", params=asked, headers=headers, extensions={"trace": note}).status_code

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(ask)
        assert is_asked.wait(10)
        assert reader.get("/events?limit=1").status_code == 200  # it was let in before that
        service.cli("keys", "revoke", reader.id)
        wait_for(lambda: reader.get("/events?limit=1").status_code == 401)
        assert till.post("/payments", json={"order_id": 1, "user_id": 1, "amount": 5}).status_code == 201
        assert held.result(15) == 401
