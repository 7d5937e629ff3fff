"""A key stands nowhere but in the one answer that shows it, and with its client."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import inspect, make_url, select

from key_holders import Caller, Holder, holder
from payment.storage.opening import open_database
from payment.storage.tables import metadata
from processes import Service, wait_for

StartKeyed = Callable[..., Service]


def all_that_is_stored(url: str) -> str:
    """Return every row of every table as text."""
    database = open_database(make_url(url))
    with database.read() as connection:
        assert set(inspect(connection).get_table_names()) - {"alembic_version"} == set(metadata.tables)
        rows = [str(row) for table in metadata.tables.values() for row in connection.execute(select(table))]
    database.close()
    return "\n".join(rows)


@pytest.mark.parametrize("log", [{"LOG_LEVEL": "debug"}, {}], ids=["debug", "info"])
def test_no_secret_stands_in_any_log_answer_event_or_table(
    start_keyed: StartKeyed, tmp_path: Path, log: dict[str, str]
) -> None:
    service = start_keyed(**log)
    said: list[str] = []
    admin = holder(service, "admin", client="kantor")
    holders = [admin, holder(service, "payments:write"), holder(service, "payments:read", client="dapur")]
    for arguments in (["--overlap", "1h", "--json"], ["--overlap", "0", "--json"]):
        rotated = service.cli("keys", "rotate", holders[1].id, *arguments)
        shown = json.loads(rotated.stdout)
        holders.append(Holder(service, shown["key"], shown["id"]))
        said.append(rotated.stderr)
    made = admin.post("/keys", json={"client": "kasir-2", "scopes": ["payments:write"]}).json()
    holders.append(Holder(service, made["key"], made["id"]))
    for number, each in enumerate(holders):
        wrong = (f"{each.key}x", each.key[:-1], each.secret)
        body = {"order_id": number + 1, "user_id": 1, "amount": 1}
        sent = [
            each.post("/payments", json=body, headers={"Idempotency-Key": f"{number}"}),
            each.post("/payments", json=body, headers={"Content-Type": "text/plain"}),
            each.get("/payments", headers={"Accept": "text/csv"}),
            each.get("/keys", headers={"Accept": "application/problem+json", "Accept-Language": "en"}),
            each.get(f"/keys/{each.id}"),
            each.get("/payments?limit=x"),
            each.get("/nothing"),
            *(Caller(service, key).post("/payments", json=body) for key in wrong),
        ]
        said += [f"{answer.headers} {answer.text}" for answer in sent]
        twice = [(b"Authorization", f"Bearer {each.key}".encode())] * 2
        said.append(service.http.get("/payments", headers=twice).text)
    for command in (["list"], ["list", "--json"], ["revoke", holders[2].id], ["revoke", holders[2].id]):
        ran = service.cli("keys", *command)
        said += [ran.stdout, ran.stderr]
    wait_for(lambda: holders[2].get("/payments").status_code == 401)
    said.append(all_that_is_stored(service.environment["DATABASE_URL"]))
    assert service.stop() == 0
    said += service.process.lines
    assert "kantor" in "".join(said)
    for each in holders:
        found = [text for text in said if each.secret in text or each.secret[:-1] in text]
        assert found == []
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert not any(each.secret.encode() in written for each in holders), "nor in what SQLite left over"
