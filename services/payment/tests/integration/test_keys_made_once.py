"""Keys over HTTP: one is rotated, each is made once for an Idempotency-Key, a caller asks what its own is."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import func, make_url, select

from key_holders import INVALID, REALM, WRONG, Caller, Holder, holder
from payment.core.units import read_time
from payment.storage.opening import open_database
from payment.storage.tables import api_keys, idempotency_keys
from processes import Service, http_client

StartKeyed = Callable[..., Service]
DAY_US = 86_400_000_000
CASHIER = {"client": "kasir-1", "scopes": ["payments:read"]}
PROBLEM = {"Accept": "application/problem+json", "Accept-Language": "en"}


@pytest.fixture(scope="module")
def admin(shared_keyed: Service) -> Holder:
    """Somebody who may make keys."""
    return holder(shared_keyed, "admin", client="kantor")


def once(**headers: str) -> dict[str, str]:
    """Return headers with an Idempotency-Key that nobody has used."""
    return {"Idempotency-Key": str(uuid4()), **headers}


def made(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    assert list(shown) == ["id", "key", "client", "scopes", "expires_at"]
    assert answer.headers["location"] == f"/keys/{shown['id']}"
    return shown


def of(admin: Caller, key_id: str) -> dict[str, Any]:
    found: dict[str, Any] = admin.get(f"/keys/{key_id}").raise_for_status().json()
    return found


def ids(admin: Caller) -> set[str]:
    return {key["id"] for key in admin.get("/keys").json()["keys"]}


# --- rotate -------------------------------------------------------------------------------------------


NULL = {"content": b"null", "headers": {"Content-Type": "application/json"}}


@pytest.mark.parametrize(
    "body", [{}, {"content": b""}, NULL, {"json": {}}], ids=["none", "empty", "null", "{}"]
)
def test_a_rotated_key_is_good_for_a_day_more_if_nothing_else_is_said(
    shared_keyed: Service, admin: Holder, body: dict[str, Any]
) -> None:
    old = holder(shared_keyed, "payments:read", "reports:read", client="kasir-7")
    before_us = time.time_ns() // 1000
    new = made(admin.post(f"/keys/{old.id}/rotate", **body))
    assert new["id"] != old.id
    assert (new["client"], new["scopes"], new["expires_at"]) == (
        "kasir-7",
        ["payments:read", "reports:read"],
        None,
    )
    assert 0 <= read_time(of(admin, old.id)["expires_at"]) - before_us - DAY_US < 30_000_000
    for key in (old.key, new["key"]):
        assert Caller(shared_keyed, key).get("/payments").status_code == 200


def test_the_overlap_is_what_is_said_and_without_one_the_old_key_is_revoked(
    shared_keyed: Service, admin: Holder
) -> None:
    old = holder(shared_keyed, "payments:read")
    before_us = time.time_ns() // 1000
    second = made(admin.post(f"/keys/{old.id}/rotate", json={"overlap_s": 2_592_000}))
    assert 0 <= read_time(of(admin, old.id)["expires_at"]) - before_us - 30 * DAY_US < 30_000_000
    third = made(admin.post(f"/keys/{second['id']}/rotate", json={"overlap_s": 0}))
    assert of(admin, second["id"])["state"] == "revoked"
    assert of(admin, third["id"])["state"] == "active"


def test_a_key_that_lives_as_long_as_time_can_be_written_is_followed_by_one_like_it(admin: Holder) -> None:
    last = "9999-12-31T23:59:59.999999Z"
    old = made(admin.post("/keys", json=CASHIER | {"expires_at": last}))
    assert made(admin.post(f"/keys/{old['id']}/rotate"))["expires_at"] == last
    beyond = admin.post("/keys", json=CASHIER | {"expires_at": "9999-12-31T23:59:59-01:00"})
    assert (beyond.status_code, beyond.json()["error"].split()[0]) == (400, "expires_at")


def test_a_key_that_is_not_there_or_has_ended_is_not_rotated(shared_keyed: Service, admin: Holder) -> None:
    missing = admin.post("/keys/R7mQ2xVb/rotate", headers=once(**PROBLEM))
    assert (missing.status_code, missing.json()["type"]) == (404, "urn:payment:problem:api-key-not-found")
    old = holder(shared_keyed, "payments:read")
    admin.post(f"/keys/{old.id}/revoke").raise_for_status()
    before = ids(admin)
    for headers in (PROBLEM, once(**PROBLEM)):
        ended = admin.post(f"/keys/{old.id}/rotate", headers=headers)
        assert (ended.status_code, ended.json()["type"]) == (409, "urn:payment:problem:api-key-ended")
        assert ended.json()["detail"] == f"API key {old.id} is revoked already"
        assert "location" not in ended.headers
    assert ids(admin) == before


@pytest.mark.parametrize("overlap", [-1, 2_592_001, 0.5, "0", None, True])
def test_what_is_no_overlap_is_refused_by_its_name(
    shared_keyed: Service, admin: Holder, overlap: object
) -> None:
    old = holder(shared_keyed, "payments:read")
    refused = admin.post(f"/keys/{old.id}/rotate", json={"overlap_s": overlap})
    assert (refused.status_code, refused.json()) == (
        400,
        {"error": "overlap_s harus bilangan bulat dari 0 sampai 2592000"},
    )
    assert of(admin, old.id)["expires_at"] is None


# --- once ---------------------------------------------------------------------------------------------


def assert_made_before(answer: httpx.Response, key_id: str) -> None:
    """Fail unless this answer tells of the key that was made, and shows none."""
    assert (answer.status_code, answer.headers["location"]) == (409, f"/keys/{key_id}")
    assert answer.json() == {
        "error": f"Kunci API {key_id} sudah dibuat oleh permintaan ini; teksnya hanya ditampilkan sekali"
    }


def test_the_same_request_makes_one_key(admin: Holder) -> None:
    headers = once()
    first = made(admin.post("/keys", json=CASHIER, headers=headers))
    before = ids(admin)
    for _ in range(2):
        assert_made_before(admin.post("/keys", json=CASHIER | {"unknown": 1}, headers=headers), first["id"])
    problem = admin.post("/keys", json=CASHIER, headers=headers | PROBLEM).json()
    assert problem["type"] == "urn:payment:problem:api-key-made"
    assert (
        problem["detail"] == f"API key {first['id']} was made by this request already; its text is shown once"
    )
    other = admin.post("/keys", json=CASHIER | {"client": "kasir-2"}, headers=headers)
    assert (other.status_code, other.json()) == (
        422,
        {"error": "Idempotency-Key ini sudah dipakai untuk permintaan lain"},
    )
    assert ids(admin) == before
    assert made(admin.post("/keys", json=CASHIER, headers=once()))["id"] != first["id"]


def test_the_same_rotation_rotates_once_though_the_old_key_has_ended(
    shared_keyed: Service, admin: Holder
) -> None:
    old, another = holder(shared_keyed, "payments:read"), holder(shared_keyed, "payments:read")
    headers = once()
    new = made(admin.post(f"/keys/{old.id}/rotate", json={"overlap_s": 0}, headers=headers))
    again = admin.post(f"/keys/{old.id}/rotate", json={"overlap_s": 0}, headers=headers)
    assert_made_before(again, new["id"])
    for path, body in ((f"/keys/{old.id}/rotate", {}), (f"/keys/{another.id}/rotate", {"overlap_s": 0})):
        assert admin.post(path, json=body, headers=headers).status_code == 422
    assert of(admin, another.id)["expires_at"] is None


def test_a_day_that_is_said_and_one_that_is_not_are_the_same_request(
    shared_keyed: Service, admin: Holder
) -> None:
    old, headers = holder(shared_keyed, "payments:read"), once()
    new = made(admin.post(f"/keys/{old.id}/rotate", headers=headers))
    same = admin.post(f"/keys/{old.id}/rotate", json={"overlap_s": 86_400.0}, headers=headers)
    assert_made_before(same, new["id"])


def test_an_idempotency_key_is_of_one_client_and_one_operation(shared_keyed: Service, admin: Holder) -> None:
    headers = once()
    first = made(admin.post("/keys", json=CASHIER, headers=headers))
    elsewhere = holder(shared_keyed, "admin", client="cabang")
    second = made(elsewhere.post("/keys", json=CASHIER, headers=headers))
    third = made(admin.post(f"/keys/{first['id']}/rotate", headers=headers))
    assert len({first["id"], second["id"], third["id"]}) == 3
    successor = made(admin.post(f"/keys/{admin.id}/rotate", json={"overlap_s": 3600}))
    again = Caller(shared_keyed, successor["key"]).post("/keys", json=CASHIER, headers=headers)
    assert_made_before(again, first["id"])


def test_a_refusal_is_not_kept(admin: Holder) -> None:
    headers = once()
    assert admin.post("/keys", json={"client": "kasir-1"}, headers=headers).status_code == 400
    assert admin.post("/keys/R7mQ2xVb/rotate", headers=headers).status_code == 404
    first = made(admin.post("/keys", json=CASHIER, headers=headers))
    made(admin.post(f"/keys/{first['id']}/rotate", headers=headers))
    for wrong in ("", "a b", "x" * 256):
        refused = admin.post("/keys", json=CASHIER, headers={"Idempotency-Key": wrong})
        assert (refused.status_code, refused.json()["error"][:15]) == (400, "Idempotency-Key")


def stored(service: Service, client: str) -> tuple[int, int]:
    """Return how many API keys a client has, and how many idempotency keys of keys there are."""
    database = open_database(make_url(service.environment["DATABASE_URL"]))
    of_client = select(func.count()).select_from(api_keys).where(api_keys.c.client == client)
    operations = idempotency_keys.c.operation.in_(["create_key", "rotate_key"])
    used = select(func.count()).select_from(idempotency_keys).where(operations)
    with database.read() as connection:
        counted = connection.execute(of_client).scalar_one(), connection.execute(used).scalar_one()
    database.close()
    return counted


def race(
    services: list[Service], key: str, path: str, body: Any, headers: dict[str, str]
) -> list[httpx.Response]:
    """Send the same request to each at the same moment, each over a connection that stands."""
    barrier = Barrier(len(services))

    def send(service: Service) -> httpx.Response:
        with http_client(service.url) as http:
            http.get("/healthz")
            barrier.wait()
            return http.post(path, json=body, headers=headers | {"Authorization": f"Bearer {key}"})

    with ThreadPoolExecutor(len(services)) as pool:
        return list(pool.map(send, services))


@pytest.mark.parametrize("what", ["a new key", "a rotation", "a rotation that revokes"])
def test_of_two_requests_at_once_one_makes_a_key(start_keyed: StartKeyed, rounds: range, what: str) -> None:
    """In two processes, and in one; the database decides."""
    services = [start_keyed(), start_keyed()]
    admin = holder(services[0], "admin", client="kantor")
    for number in rounds:
        client = f"kasir-{number}"
        path, before = "/keys", 0
        body: dict[str, Any] = {"client": client, "scopes": ["payments:read"]}
        if what != "a new key":
            old = made(admin.post("/keys", json=body))
            path, body, before = f"/keys/{old['id']}/rotate", {"overlap_s": 60}, 1
        if what == "a rotation that revokes":
            body = {"overlap_s": 0}
        headers, used = once(), stored(services[0], client)[1]
        answers = race([*services, services[number % 2]], admin.key, path, body, headers)
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
        (winner,) = [made(answer) for answer in answers if answer.status_code == 201]
        for answer in answers:
            if answer.status_code == 409:
                assert_made_before(answer, winner["id"])
        assert stored(services[1], client) == (before + 1, used + 1)
        assert Caller(services[1], winner["key"]).get("/payments").status_code == 200


# --- who am I -----------------------------------------------------------------------------------------


def test_a_caller_is_told_what_its_key_is_good_for(shared_keyed: Service) -> None:
    until = ("--expires", "90d")
    both = holder(shared_keyed, "refunds:write", "payments:read", client="kasir-3", arguments=until)
    told = both.get("/caller").raise_for_status().json()
    assert list(told) == ["client", "key_id", "scopes", "expires_at"]
    listed = json.loads(
        next(
            line for line in shared_keyed.cli("keys", "list", "--json").stdout.splitlines() if both.id in line
        )
    )
    assert told == {
        "client": "kasir-3",
        "key_id": both.id,
        "scopes": ["payments:read", "refunds:write"],
        "expires_at": listed["expires_at"],
    }
    forever = holder(shared_keyed, "metrics:read")
    assert forever.get("/caller").json()["expires_at"] is None


def test_whoever_brings_no_good_key_is_told_nothing(shared_keyed: Service) -> None:
    assert Caller(shared_keyed).get("/caller").headers["www-authenticate"] == REALM
    refused = Caller(shared_keyed, WRONG).get("/caller")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, INVALID)


def test_where_no_keys_are_asked_for_everybody_may_do_everything(shared: Service) -> None:
    for caller in (Caller(shared), Caller(shared, WRONG)):
        assert caller.get("/caller").json() == {
            "client": None,
            "key_id": None,
            "scopes": ["admin"],
            "expires_at": None,
        }


def test_the_description_says_that_it_needs_a_key_and_no_scope(shared_keyed: Service) -> None:
    described = shared_keyed.http.get("/openapi.json").json()["paths"]["/caller"]["get"]
    assert described["security"] == [{"apiKey": []}]
    assert "and no scope" in described["description"]
