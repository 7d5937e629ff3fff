"""A backup is put back: no id is given twice, and who follows the events gets all, on both databases."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import URL, make_url

from followers import read_all
from postgres import create_database, drop_database
from processes import Service

Start = Callable[..., Service]
Ids = dict[str, set[int]]


@pytest.fixture
def back_up(database_url: str, postgres: URL, end: ExitStack, tmp_path: Path) -> Callable[[], str]:
    """A function that copies the database, which nobody uses, and returns the copy's URL."""

    def back_up() -> str:
        url = make_url(database_url)
        if url.get_backend_name() == "sqlite":
            copy = tmp_path / "copy.db"
            with sqlite3.connect(str(url.database)) as file:
                file.execute("VACUUM INTO ?", (str(copy),))
            file.close()
            return f"sqlite:///{copy}"
        name = f"payment_copy_{uuid4().hex}"
        created = create_database(postgres, name, str(url.database))
        end.callback(drop_database, postgres, name)
        return created.render_as_string(hide_password=False)

    return back_up


def give_ids(service: Service, first_order: int) -> Ids:
    """Pay three orders, give one back; return the ids that this gave."""
    seen = {event["id"] for event in read_all(service.url)}
    told = {row["id"] for row in service.notifications()}
    paid = [service.pay(first_order + number) for number in range(3)]
    refund = service.refund(paid[0].json()["payment_id"], {"amount": 5_000})
    assert refund.status_code == 201
    return {
        "payments": {answer.json()["payment_id"] for answer in paid},
        "refunds": {refund.json()["id"]},
        "notifications": {row["id"] for row in service.notifications()} - told,
        "events": {
            int(event["id"].split(".")[0]) for event in read_all(service.url) if event["id"] not in seen
        },
    }


def test_after_a_restore_no_id_is_given_twice_and_a_follower_gets_all(
    start: Start, back_up: Callable[[], str]
) -> None:
    service = start("serve", "--no-worker")
    known = give_ids(service, 1)
    kept = read_all(service.url)
    service.stop()
    copy = back_up()
    service.start()
    lost = give_ids(service, 11)
    ahead = read_all(service.url)[-1]["id"]
    service.stop()

    service = start("serve", "--no-worker", DATABASE_URL=copy)
    said = json.loads(service.cli("restored", "--json").stdout)
    assert {name: each["last_id"] for name, each in said.items() if name != "events"} == {
        name: max(ids) for name, ids in known.items() if name != "events"
    }
    new = give_ids(service, 11)
    for name, ids in new.items():
        assert ids, name
        assert not ids & (known[name] | lost[name]), name
        assert min(ids) > said[name]["above"] >= 72_000_000, name

    assert service.http.get("/events", params={"after": ahead}).status_code == 410
    everything = read_all(service.url)
    assert [event["id"] for event in everything[: len(kept)]] == [event["id"] for event in kept]
    assert read_all(service.url, after=kept[-1]["id"]) == everything[len(kept) :]
    assert {int(event["id"].split(".")[0]) for event in everything[len(kept) :]} == new["events"]
    again = service.pay(1)
    assert again.status_code == 409, "what the copy knows stays paid"


def test_who_knows_the_largest_payment_id_keeps_ids_small(start: Start) -> None:
    service = start("serve", "--no-worker")
    for order_id in (1, 2, 3):
        service.pay(order_id)
    low = service.cli("restored", "--next-id-above", "2")
    assert (low.returncode, "has payment 3" in low.stderr) == (2, True)
    no_room = service.cli("restored", "--next-id-above", str(2**53 - 1))
    assert (no_room.returncode, "payments" in no_room.stderr) == (1, True)
    assert service.pay(4).json()["payment_id"] == 4, "a refusal changes nothing"
    table = service.cli("restored", "--next-id-above", "20").stdout.splitlines()
    assert table[0].split() == ["table", "last_id", "above"]
    assert table[1].split() == ["payments", "4", "20"]
    assert service.pay(5).json()["payment_id"] == 21
    assert [service.pay(order_id).json()["payment_id"] for order_id in (6, 7)] == [22, 23]
