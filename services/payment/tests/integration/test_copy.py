"""`payment copy`: all is there on the other side, to the last byte, and the old one is served no more."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import (
    URL,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    LargeBinary,
    MetaData,
    Table,
    make_url,
    text,
)

from moved_databases import command, content, copy, copying, is_served, schema
from payment.ledger.copying import ALL_TABLES, CopyRefused
from payment.storage.copy_side import is_json
from payment.storage.errors import NotServed
from payment.storage.migrate import SCHEMA_REVISION
from payment.storage.opening import open_database
from payment.storage.tables import metadata
from postgres import create_database, drop_database
from processes import Service, Stub, wait_until_all_told

NewPostgres = Callable[..., str]


@pytest.fixture
def source(lived: Path, tmp_path: Path) -> str:
    """The URL of such a file of the test's own."""
    return f"sqlite:///{shutil.copy(lived, tmp_path / 'payment.db')}"


@pytest.fixture
def new_postgres(postgres: URL, migrated: str) -> Iterator[NewPostgres]:
    """A function that returns the URL of a fresh PostgreSQL database."""
    names: list[str] = []

    def new(template: str = migrated) -> str:
        names.append(f"payment_{uuid4().hex}")
        return create_database(postgres, names[-1], template).render_as_string(hide_password=False)

    yield new
    for name in names:
        drop_database(postgres, name)


def test_there_and_back_everything_is_the_same(
    source: str, new_postgres: NewPostgres, tmp_path: Path
) -> None:
    """By the command, to a PostgreSQL that has nothing and to a file that is not there yet."""
    before, tables = content(source), schema(source)
    there, back = new_postgres("template1"), f"sqlite:///{tmp_path / 'back.db'}"
    said = command("copy", "--to", there, DATABASE_URL=source)
    assert (said.returncode, said.stderr) == (0, "")
    assert f"payments {len(before['payments'])}" in said.stdout
    assert said.stdout.endswith(f"DATABASE_URL={there.replace('postgres@', '')}\n")
    assert content(there) == before
    copy(there, back)
    assert content(back) == before
    assert schema(back) == tables
    assert [is_served(url) for url in (source, there, back)] == [False, False, True]


def test_what_is_copied_is_like_any_other_database(
    source: str, new_postgres: NewPostgres, migrated: str, postgres: URL
) -> None:
    """No table, trigger or function is left of the copy."""
    target = new_postgres()
    copy(source, target)
    assert schema(target) == schema(str(postgres.set(database=migrated)))


@pytest.mark.parametrize("direction", ["to PostgreSQL", "to SQLite"])
def test_payments_go_on_in_the_new_database_and_not_in_the_old(
    source: str, new_postgres: NewPostgres, tmp_path: Path, direction: str
) -> None:
    """Ids and readers of the feed go on, what waits is told, and the old one says where all is."""
    target = new_postgres()
    if direction == "to SQLite":
        copy(source, target)
        source, target = target, f"sqlite:///{tmp_path / 'back.db'}"
    with ExitStack() as end:
        order, user = Stub("order"), Stub("user")
        end.callback(order.kill)
        end.callback(user.kill)
        settings = {"ORDER_SERVICE_URL": order.url, "USER_SERVICE_URL": user.url, "POLL_INTERVAL_S": "0.3"}
        old = Service(settings | {"DATABASE_URL": source}, "serve", "--no-worker", cwd=tmp_path)
        end.callback(old.kill)
        first = old.pay(940_000, Idempotency_Key="till-1")
        cursor = old.http.get("/events", params={"limit": 7}).json()["next_cursor"]
        following = old.http.get("/events", params={"limit": 7, "after": cursor}).json()["events"]
        newest = old.http.get("/payments", params={"limit": 1}).json()["payments"][0]

        if direction == "to SQLite":
            with psycopg.connect(source, autocommit=True) as connection:  # taken ahead, and in no row
                connection.execute("SELECT nextval('payments_id_seq') FROM generate_series(1, 100)")
        last_id = content(source)["last of payments.id"][0]
        copy(source, target)
        assert old.pay(950_000).status_code == 503
        assert old.refund(newest["id"]).status_code == 503
        ready = old.http.get("/readyz")
        assert ready.status_code == 503
        assert "the payments have moved to" in ready.json()["error"]

        new = Service(settings | {"DATABASE_URL": target}, cwd=tmp_path)
        end.callback(new.kill)
        assert new.http.get("/events", params={"limit": 7, "after": cursor}).json()["events"] == following
        assert new.http.get("/payments", params={"limit": 1}).json()["payments"] == [newest]
        again = new.pay(940_000, Idempotency_Key="till-1")
        assert (again.headers["idempotency-replayed"], again.content) == ("true", first.content)
        assert (
            last_id < new.pay(950_000).json()["payment_id"] < last_id + 5
        )  # attempts take some on PostgreSQL
        assert new.pay(newest["order_id"], amount=newest["amount"]).status_code == 409
        wait_until_all_told(new, within_s=120)  # all that was waiting when it moved
        assert 900_000 in order.states()


def test_what_the_old_database_says(source: str, new_postgres: NewPostgres) -> None:
    """One line, and no password."""
    target = make_url(new_postgres()).set(password="secret", query={"password": "hidden", "keepalives": "1"})
    copy(source, target.render_as_string(hide_password=False))
    where = f"postgresql://{target.host}:{target.port}/{target.database}"
    commands = (["serve"], ["worker"], ["migrate"], ["report"], ["prune"], ["copy", "--to", "sqlite:///x.db"])
    for arguments in commands:
        said = command(*arguments, DATABASE_URL=source)
        assert (said.returncode, said.stdout, said.stderr.splitlines()) == (
            1,
            "",
            [f"Pembayaran sudah pindah / the payments have moved to {where}"],
        ), arguments


def test_nobody_writes_to_the_source_meanwhile(
    source: str, new_postgres: NewPostgres, tmp_path: Path
) -> None:
    """On both: who reads goes on, who tries to write is refused; what was there before is what is copied."""
    target, other = new_postgres(), f"sqlite:///{tmp_path / 'other.db'}"
    for ends in ((source, target), (target, f"sqlite:///{tmp_path / 'back.db'}")):
        before = content(ends[0])
        old = Service({"DATABASE_URL": ends[0]}, "serve", "--no-worker", cwd=tmp_path)
        with ExitStack() as end, copying(*ends) as copied, ThreadPoolExecutor(1) as beside:
            end.callback(old.kill)
            steps = end.enter_context(closing(copied.run()))
            next(steps)
            another = beside.submit(copy, source, other) if ends[0] == source else None
            assert old.pay(960_000).status_code == 503
            assert old.http.get("/payments/1").status_code == 200
            if another:  # of PostgreSQL it would wait until this one has ended
                with pytest.raises(CopyRefused, match="hentikan serve dan worker / stop serve and worker"):
                    another.result(60)
            assert list(steps)[-1] == 1.0
            assert old.pay(960_000).status_code == 503
        assert content(ends[1]) == before


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_no_statement_changes_what_has_moved(
    source: str, new_postgres: NewPostgres, tmp_path: Path, kind: str
) -> None:
    """Not in any table, whatever program or version tries."""
    old, new = source, new_postgres()
    copy(old, new)
    if kind == "postgresql":
        old, new = new, f"sqlite:///{tmp_path / 'back.db'}"
        copy(old, new)
    database = open_database(make_url(old))
    before = content(old)
    for table in ALL_TABLES:
        for statement in (
            f"DELETE FROM {table.name}",
            f"UPDATE {table.name} SET {list(table.columns)[-1].name} = NULL",
            f"INSERT INTO {table.name} SELECT * FROM {table.name}",
        ):
            if kind == "sqlite" and not before[table.name]:
                continue
            with pytest.raises(Exception, match="the payments have moved to"), database.write() as connection:
                connection.execute(text(statement))
    with pytest.raises(NotServed):
        database.migrate()
    database.close()
    assert content(old) == before


def test_a_table_or_column_that_nobody_mentions_is_copied_too(source: str, new_postgres: NewPostgres) -> None:
    target = new_postgres()
    bigger = MetaData()
    for table in metadata.sorted_tables:
        table.to_metadata(bigger)
    bigger.tables["payments"].append_column(Column("tip", BigInteger))
    bigger.tables["api_keys"].append_column(Column("is_new", Boolean))
    added = Table(
        "tips",
        bigger,
        Column("id", BigInteger, primary_key=True),
        Column("payment_id", BigInteger, ForeignKey("payments.id")),
    )
    for url in (source, target):
        database = open_database(make_url(url))
        with database.write() as connection:
            connection.execute(text("ALTER TABLE payments ADD COLUMN tip BIGINT"))
            connection.execute(text("ALTER TABLE api_keys ADD COLUMN is_new BOOLEAN"))
            added.create(connection)
            if url == source:
                connection.execute(text("UPDATE payments SET tip = id * 3000000000000"))
                connection.execute(text("UPDATE api_keys SET is_new = (created_us % 2 = 0)"))
                connection.execute(text("INSERT INTO tips SELECT id + 5, id FROM payments"))
        database.close()
    with copying(source, target, tuple(bigger.sorted_tables)) as copied:
        list(copied.run())
    sums = ("SELECT sum(tip) FROM payments", "SELECT sum(id) + sum(payment_id) FROM tips")
    counts = "SELECT count(*) FROM api_keys WHERE is_new"
    with sqlite3.connect(source.removeprefix("sqlite:///")) as old, psycopg.connect(target) as new:
        for query in (*sums, counts):
            assert old.execute(query).fetchone() == new.execute(query.encode()).fetchone()
        assert new.execute("SELECT nextval('tips_id_seq') - max(id) FROM tips").fetchone() == (1,)
    old.close()


def test_every_column_is_of_a_type_that_can_be_copied() -> None:
    assert [column for table in ALL_TABLES for column in table.columns if is_json(column)]
    with pytest.raises(TypeError, match="LargeBinary"):
        is_json(Column("picture", LargeBinary))


UNFIT = [
    (
        "UPDATE refunds SET reason = 'a' || char(0) WHERE id = 1",
        "refunds (id=1): reason: karakter NUL / a NUL",
    ),
    (
        "UPDATE refunds SET reason = CAST(x'61ff' AS TEXT) WHERE id = 2",
        "refunds (id=2): reason: bukan UTF-8 / not",
    ),
    ("UPDATE refunds SET reason = x'61' WHERE id = 2", "refunds (id=2): reason: bukan teks / not text"),
    (
        "UPDATE notifications SET attempts = 2147483648 WHERE id = 3",
        "notifications (id=3): attempts: terlalu besar",
    ),
    (
        "UPDATE notifications SET is_repeat = 2 WHERE id = 3",
        "notifications (id=3): is_repeat: bukan 0 atau 1",
    ),
    ("UPDATE notifications SET failures = '{' WHERE id = 4", "notifications (id=4): failures: bukan JSON"),
    (
        "UPDATE payments SET created_us = 1.5 WHERE id = 5",
        "payments (id=5): created_us: bukan bilangan bulat",
    ),
    (
        "UPDATE idempotency_keys SET body = 'a' || char(0) WHERE key = 'o-900003'",
        "idempotency_keys (caller=, operation=create_payment, key=o-900003): body: karakter NUL",
    ),
]


def test_what_postgresql_cannot_hold_is_said_before_anything_is_copied(
    source: str, new_postgres: NewPostgres
) -> None:
    file, target = source.removeprefix("sqlite:///"), new_postgres()
    whole = Path(file).read_bytes()
    for statement, said in UNFIT:
        Path(file).write_bytes(whole)
        with sqlite3.connect(file) as connection:
            assert connection.execute(statement).rowcount == 1
        connection.close()
        with pytest.raises(CopyRefused) as refused:
            copy(source, target)
        assert said in str(refused.value)
    assert is_served(source)
    assert content(target)["payments"] == []


def test_why_it_is_refused(source: str, new_postgres: NewPostgres, postgres: URL, tmp_path: Path) -> None:
    """One line each, exit code 1, and both databases are as they were."""
    target = new_postgres()
    full = f"sqlite:///{shutil.copy(source.removeprefix('sqlite:///'), tmp_path / 'full.db')}"
    newer, latin, foreign = new_postgres(), f"payment_{uuid4().hex}", new_postgres("template1")
    with psycopg.connect(newer) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with psycopg.connect(foreign) as connection:
        connection.execute("CREATE TABLE payments (id int)")
    with psycopg.connect(str(postgres), autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {latin} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0".encode()
        )
    where = make_url(target)
    by_another_name = where.set(host=None, port=None, query={"host": f"localhost:{where.port}"})
    there_already = f"Tujuan tidak kosong / the target is not empty: {full}: "
    for ends, said in (
        ((source, source), "Sumber dan tujuan sama / source and target are the same: sqlite:///"),
        (
            (target, str(by_another_name)),
            "Sumber dan tujuan sama / source and target are the same: postgresql://",
        ),
        ((source, full), there_already),
        ((source, newer), f"9999, bukan / not {SCHEMA_REVISION}"),
        ((newer, f"sqlite:///{tmp_path / 'x.db'}"), f"9999, bukan / not {SCHEMA_REVISION}"),
        ((source, str(postgres.set(database=latin))), "is LATIN1, not UTF8"),
        ((source, foreign), "Basis data milik program lain / another program's database: "),
        (
            (source, "postgresql://u:secret@127.0.0.1:1/x"),
            "cannot be used: (psycopg.OperationalError) connection f",
        ),
        ((source, f"sqlite:///{tmp_path}/no/folder.db"), "cannot make"),
        ((new_postgres("template1"), full), "Skema basis data lama / old schema (empty"),
    ):
        refused = command("copy", "--from", ends[0], "--to", ends[1])
        assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1), refused
        assert said in refused.stderr
        assert "secret" not in refused.stderr
    bad = command("copy", "--to", "mysql://x")
    assert bad.returncode == 2
    assert "mysql is not supported; use sqlite or postgresql" in bad.stderr
    assert is_served(source)
    drop_database(postgres, latin)
