"""API keys from their making to their end: at the command line, over HTTP, and as events."""

import json
import os
import pwd
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from sqlalchemy import make_url, select

from key_holders import WRONG, Caller, Holder, holder, let_in
from payment.core.units import read_time
from payment.storage.opening import open_database
from payment.storage.tables import api_keys, events
from processes import Service

StartKeyed = Callable[..., Service]
USER = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
DAY_US = 86_400_000_000


def rows_of(service: Service, table: Any) -> list[dict[str, Any]]:
    database = open_database(make_url(service.environment["DATABASE_URL"]))
    with database.read() as connection:
        rows = [dict(row) for row in connection.execute(select(table)).mappings()]
    database.close()
    return rows


def listed(service: Service) -> dict[str, dict[str, Any]]:
    """Return what `keys list` says of each key."""
    said = service.cli("keys", "list", "--json")
    assert (said.returncode, said.stderr) == (0, "")
    return {row["id"]: row for row in map(json.loads, said.stdout.splitlines())}


def key_events(service: Service) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Return type, actor and data of all events about keys, oldest first."""
    found = sorted(rows_of(service, events), key=lambda event: int(event["id"]))
    return [(e["types"], e["actor"], e["data"]) for e in found if e["types"].startswith("key.")]


def test_the_command_prints_the_key_alone_and_all_else_beside_it(shared_keyed: Service) -> None:
    made = shared_keyed.cli("keys", "create", "--client", "kasir-1", "--scope", "payments:read")
    assert made.returncode == 0
    key = re.fullmatch(r"pk_([0-9A-Za-z]{8})_[0-9A-Za-z]{32,}\n", made.stdout)
    assert key
    assert made.stderr == (
        f"Kunci {key[1]} milik kasir-1, hanya ditampilkan sekali ini / "
        f"key {key[1]} of kasir-1, shown this once\n"
    )
    assert Caller(shared_keyed, made.stdout.strip()).get("/payments").status_code == 200


def test_for_machines_it_is_one_json_object(shared_keyed: Service) -> None:
    asked = (
        "--client",
        "dapur.2_b",
        "--scope",
        "payments:read",
        "--scope",
        "refunds:write",
        "--scope",
        "payments:read",
    )
    before_us = time.time_ns() // 1000
    made = shared_keyed.cli("keys", "create", *asked, "--expires", "90d", "--json")
    shown = json.loads(made.stdout)
    assert list(shown) == ["id", "key", "client", "scopes", "expires_at"]
    assert (shown["client"], shown["scopes"]) == ("dapur.2_b", ["payments:read", "refunds:write"])
    assert 0 <= read_time(shown["expires_at"]) - before_us - 90 * DAY_US < 30_000_000
    row = listed(shared_keyed)[shown["id"]]
    assert (row["expires_at"], row["revoked_at"], row["last_used_at"], row["state"]) == (
        shown["expires_at"],
        None,
        None,
        "active",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--scope", "payments:read"],
        ["--client", "kasir-1"],
        ["--client", "", "--scope", "payments:read"],
        ["--client", "cli:root", "--scope", "payments:read"],
        ["--client", "kasir/1", "--scope", "payments:read"],
        ["--client", "kasir 1", "--scope", "payments:read"],
        ["--client", "kasir\n", "--scope", "payments:read"],
        ["--client", "x" * 65, "--scope", "payments:read"],
        ["--client", "kasir-1", "--scope", "payments"],
        ["--client", "kasir-1", "--scope", "payments:read", "--scope", "fly"],
        ["--client", "kasir-1", "--scope", "payments:read", "--expires", "0"],
        ["--client", "kasir-1", "--scope", "payments:read", "--expires", "0d"],
        ["--client", "kasir-1", "--scope", "payments:read", "--expires", "-1d"],
        ["--client", "kasir-1", "--scope", "payments:read", "--expires", "90"],
        ["--client", "kasir-1", "--scope", "payments:read", "--expires", "soon"],
    ],
    ids=lambda arguments: " ".join(arguments)[:60],
)
def test_what_makes_no_sense_makes_no_key(shared_keyed: Service, arguments: list[str]) -> None:
    before = listed(shared_keyed)
    refused = shared_keyed.cli("keys", "create", *arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr
    assert "Traceback" not in refused.stderr
    assert listed(shared_keyed) == before


def test_a_scope_that_is_not_there_is_answered_with_those_that_are(shared_keyed: Service) -> None:
    said = shared_keyed.cli("keys", "create", "--client", "k", "--scope", "fly").stderr
    assert "payments:read" in said
    assert "admin" in said


def test_the_list_for_people_says_all_but_the_secret(shared_keyed: Service) -> None:
    made = holder(shared_keyed, "payments:read", "reports:read", client="pelapor")
    heading, *lines = shared_keyed.cli("keys", "list").stdout.splitlines()
    columns = ["id", "client", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at", "state"]
    assert heading.split() == columns
    line = next(line for line in lines if line.startswith(made.id))
    assert line.split()[1:3] == ["pelapor", "payments:read,reports:read"]
    assert line.endswith("active")
    assert made.secret not in "".join(lines)


def test_a_revoked_key_is_listed_as_that_and_cannot_be_ended_again(shared_keyed: Service) -> None:
    made = holder(shared_keyed, "payments:read")
    assert shared_keyed.cli("keys", "revoke", made.id).stdout == f"Dicabut / revoked: {made.id}\n"
    row = listed(shared_keyed)[made.id]
    assert (row["state"], row["revoked_at"] is None) == ("revoked", False)
    for command in (["revoke"], ["rotate"], ["rotate", "--overlap", "0"]):
        refused = shared_keyed.cli("keys", *command, made.id)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert f"key {made.id} is revoked already" in refused.stderr
    assert listed(shared_keyed)[made.id] == row


@pytest.mark.parametrize("command", [["revoke"], ["rotate"]], ids=str)
@pytest.mark.parametrize("key_id", ["R7mQ2xVb", "x", "' OR 1=1"])
def test_a_key_that_is_not_there_is_called_that(
    shared_keyed: Service, command: list[str], key_id: str
) -> None:
    refused = shared_keyed.cli("keys", *command, key_id)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"Kunci {key_id} tidak ada / there is no key {key_id}\n"


def rotated(service: Service, key_id: str, *arguments: str) -> Holder:
    said = service.cli("keys", "rotate", key_id, "--json", *arguments)
    assert said.returncode == 0, said.stderr
    shown = json.loads(said.stdout)
    return Holder(service, shown["key"], shown["id"])


def test_a_rotated_key_is_good_for_a_day_more_and_the_new_one_is_the_same_client(
    shared_keyed: Service, order_id: int
) -> None:
    old = holder(shared_keyed, "payments:write", "payments:read", client="kasir-7")
    body, headers = (
        {"order_id": order_id, "user_id": 1, "amount": 5},
        {"Idempotency-Key": f"bayar-{order_id}"},
    )
    first = old.post("/payments", json=body, headers=headers)
    assert first.status_code == 201
    before_us = time.time_ns() // 1000
    new = rotated(shared_keyed, old.id)
    assert new.id != old.id
    row, new_row = (listed(shared_keyed)[each.id] for each in (old, new))
    assert 0 <= read_time(row["expires_at"]) - before_us - DAY_US < 30_000_000
    assert row["state"] == "active"
    assert (new_row["client"], new_row["scopes"], new_row["expires_at"]) == (
        row["client"],
        row["scopes"],
        None,
    )
    for each in (new, old, new):
        again = each.post("/payments", json=body, headers=headers)
        assert (again.status_code, again.content) == (201, first.content)
        assert again.headers["idempotency-replayed"] == "true"
    other = holder(shared_keyed, "payments:write", client="kasir-8").post(
        "/payments", json=body, headers=headers
    )
    assert other.status_code == 409, "another client's key of the same name is another key"


def test_the_new_key_lives_as_long_as_the_old_one_was_to(shared_keyed: Service) -> None:
    old = holder(shared_keyed, "payments:read", arguments=("--expires", "30d"))
    before_us = time.time_ns() // 1000
    new = rotated(shared_keyed, old.id, "--overlap", "40d")
    rows = listed(shared_keyed)
    assert 0 <= read_time(rows[new.id]["expires_at"]) - before_us - 30 * DAY_US < 30_000_000
    assert read_time(rows[old.id]["expires_at"]) - before_us < 30 * DAY_US, (
        "an overlap makes no key live longer"
    )


def test_without_an_overlap_the_old_key_is_revoked_in_the_same_moment(shared_keyed: Service) -> None:
    old = holder(shared_keyed, "payments:read")
    seen = len(key_events(shared_keyed))
    new = rotated(shared_keyed, old.id, "--overlap", "0")
    assert listed(shared_keyed)[old.id]["state"] == "revoked"
    assert [(what, who, data["id"]) for what, who, data in key_events(shared_keyed)[seen:]] == [
        ("key.created", USER, new.id),
        ("key.revoked", USER, old.id),
    ]


def test_what_happens_to_a_key_is_an_event_with_who_did_it(shared_keyed: Service) -> None:
    admin = holder(shared_keyed, "admin", client="kantor")
    seen = len(key_events(shared_keyed))
    body = {"client": "kasir-9", "scopes": ["payments:read"], "expires_at": "2099-01-01T00:00:00+07:00"}
    made = admin.post("/keys", json=body, headers={"X-Request-Id": "buat-kunci"}).json()
    admin.post(f"/keys/{made['id']}/revoke")
    admin.post(f"/keys/{made['id']}/revoke")
    other = holder(shared_keyed, "payments:read")
    shared_keyed.cli("keys", "revoke", other.id)
    found = key_events(shared_keyed)[seen:]
    who = f"kantor/{admin.id}"
    assert [(what, actor, data["id"]) for what, actor, data in found] == [
        ("key.created", who, made["id"]),
        ("key.revoked", who, made["id"]),
        ("key.created", USER, other.id),
        ("key.revoked", USER, other.id),
    ]
    assert found[0][2] == {
        "id": made["id"],
        "client": "kasir-9",
        "scopes": "payments:read",
        "created_us": found[0][2]["created_us"],
        "expires_us": read_time("2099-01-01T00:00:00+07:00"),
        "revoked_us": None,
        "last_used_us": None,
    }
    assert found[1][2] == {**found[0][2], "revoked_us": found[1][2]["revoked_us"]}
    assert any(event["request_id"] == "buat-kunci" for event in rows_of(shared_keyed, events))


def test_a_payment_names_the_client_and_the_key_that_made_it(start_keyed: StartKeyed) -> None:
    service = start_keyed()
    made = let_in(service, "payments:write", client="kasir-3")
    assert service.pay(1).status_code == 201
    actors = {event["actor"] for event in rows_of(service, events) if event["types"].startswith("payment.")}
    assert actors == {f"kasir-3/{made.id}"}


def test_keys_over_http(shared_keyed: Service) -> None:
    admin = holder(shared_keyed, "admin")
    made = admin.post("/keys", json={"client": "kasir-5", "scopes": ["payments:read", "payments:write"]})
    assert made.status_code == 201
    shown = made.json()
    assert list(shown) == ["id", "key", "client", "scopes", "expires_at"]
    assert made.headers["location"] == f"/keys/{shown['id']}"
    assert made.headers["cache-control"] == "no-store"
    assert Caller(shared_keyed, shown["key"]).get("/payments").status_code == 200
    one = admin.get(made.headers["location"]).json()
    assert one == {
        "id": shown["id"],
        "client": "kasir-5",
        "scopes": ["payments:read", "payments:write"],
        "created_at": one["created_at"],
        "expires_at": None,
        "revoked_at": None,
        "last_used_at": None,
        "state": "active",
    }
    keys = admin.get("/keys").json()["keys"]
    assert keys[0] == one, "newest first"
    assert admin.id in {key["id"] for key in keys}
    revoked = admin.post(f"/keys/{shown['id']}/revoke")
    assert (revoked.status_code, revoked.json()["state"]) == (200, "revoked")
    assert revoked.json()["revoked_at"]
    assert admin.post(f"/keys/{shown['id']}/revoke").json() == revoked.json(), "it stays as it is"
    assert admin.get(f"/keys/{shown['id']}").json() == revoked.json()


@pytest.mark.parametrize("path", ["/keys/R7mQ2xVb", "/keys/R7mQ2xVb/revoke"])
def test_a_key_that_is_not_there_is_not_found(shared_keyed: Service, path: str) -> None:
    method = "POST" if path.endswith("revoke") else "GET"
    missing = holder(shared_keyed, "admin").request(method, path)
    assert (missing.status_code, missing.json()) == (404, {"error": "Kunci API tidak ditemukan"})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "client wajib diisi"),
        ({"client": "k"}, "scopes wajib diisi"),
        ({"client": "a/b"}, "scopes wajib diisi"),
        ({"client": "a/b", "scopes": ["admin"]}, "client harus 1 sampai 64 huruf"),
        ({"client": "k", "scopes": []}, "scopes harus daftar berisi sebagian dari ini"),
        ({"client": "k", "scopes": ["fly"]}, "payments:read, payments:write, refunds:write"),
        ({"client": "k", "scopes": "admin"}, "scopes harus daftar"),
        ({"client": "k", "scopes": ["admin", "admin"]}, "masing-masing satu kali"),
        (
            {"client": "k", "scopes": ["admin"], "expires_at": "besok"},
            "expires_at harus waktu dengan zonanya",
        ),
        (
            {"client": "k", "scopes": ["admin"], "expires_at": "2026-02-30T00:00:00Z"},
            "expires_at harus waktu",
        ),
        (
            {"client": "k", "scopes": ["admin"], "expires_at": "2020-01-01T00:00:00Z"},
            "expires_at harus waktu yang akan datang",
        ),
    ],
    ids=str,
)
def test_a_body_that_makes_no_sense_makes_no_key(
    shared_keyed: Service, body: dict[str, Any], said: str
) -> None:
    admin = holder(shared_keyed, "admin")
    before = listed(shared_keyed).keys()
    refused = admin.post("/keys", json=body)
    assert refused.status_code == 400
    assert said in refused.json()["error"]
    assert listed(shared_keyed).keys() == before


def test_where_no_keys_are_asked_for_they_can_be_made_ready(shared: Service) -> None:
    """Somebody who is going to say AUTH=keys makes them before."""
    anybody = Caller(shared)
    made = anybody.post("/keys", json={"client": "kasir-1", "scopes": ["admin"]})
    assert made.status_code == 201
    assert made.json()["id"] in {key["id"] for key in anybody.get("/keys").json()["keys"]}
    assert anybody.post(f"/keys/{made.json()['id']}/revoke").json()["state"] == "revoked"
    assert Caller(shared, WRONG).get("/payments").status_code == 200, "nobody looks at it"
    assert {actor for _, actor, _ in key_events(shared)} == {"anybody"}


def test_of_a_key_the_database_has_the_hash_of_its_secret_and_no_more(shared_keyed: Service) -> None:
    made = holder(shared_keyed, "payments:read")
    (row,) = [row for row in rows_of(shared_keyed, api_keys) if row["id"] == made.id]
    assert re.fullmatch("[0-9a-f]{64}", row["secret_sha256"])
    assert made.secret not in str(row)
