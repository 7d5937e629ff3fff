"""SQLite's files: for their owner alone, never another program's; and a PostgreSQL of another program."""

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import URL, make_url

from forked import run as run_program
from payment.storage.opening import open_current, open_database
from payment.storage.ownership import OUR_TABLES, ForeignDatabase
from payment.storage.tables import metadata
from postgres import create_database, drop_database
from processes import Service


def modes(folder: Path) -> dict[str, str]:
    return {each.name: oct(stat.S_IMODE(each.stat().st_mode)) for each in folder.glob("payment.db*")}


def migrate(url: str, folder: Path) -> tuple[int, str]:
    """Run `payment migrate`; return its exit code and what it said on stderr."""
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": url}
    ended = run_program("payment", ["migrate"], env=environment, cwd=folder, timeout_s=30)
    return ended.returncode, ended.stderr


# --- for their owner alone ----------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["sqlite:///payment.db", "sqlite:///file:payment.db?uri=true"])
def test_all_files_of_a_new_database_are_their_owners_alone(address: str, tmp_path: Path) -> None:
    service = Service({"DATABASE_URL": address}, "serve", "--no-worker", cwd=tmp_path)
    assert service.pay(1).status_code == 201
    assert modes(tmp_path) == dict.fromkeys(["payment.db", "payment.db-wal", "payment.db-shm"], "0o600")
    service.kill()


def test_a_new_file_at_the_end_of_a_link_is_its_owners_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "payment.db").symlink_to(tmp_path / "data" / "payment.db")
    database = open_current(make_url(f"sqlite:///{tmp_path / 'payment.db'}"))
    with database.write():
        assert set(modes(tmp_path / "data").values()) == {"0o600"}
    database.close()


def test_the_mode_of_a_file_that_was_there_is_left_as_it_is(migrated_file: Path, tmp_path: Path) -> None:
    """Somebody's backup may read it as another user; the -wal has to follow, or that reads half."""
    file = tmp_path / "payment.db"
    file.write_bytes(migrated_file.read_bytes())
    file.chmod(0o640)
    database = open_current(make_url(f"sqlite:///{file}"))
    with database.write():
        assert set(modes(tmp_path).values()) == {"0o640"}
    database.close()


def test_a_file_that_may_only_exist_already_is_not_made(tmp_path: Path) -> None:
    code, said = migrate("sqlite:///file:payment.db?mode=rw&uri=true", tmp_path)
    assert code == 1
    assert "unable to open database file" in said
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_made_is_said_with_the_reason(tmp_path: Path) -> None:
    code, said = migrate("sqlite:///nowhere/payment.db", tmp_path)
    assert code == 1
    assert f"cannot make {tmp_path}/nowhere/payment.db: No such file or directory" in said


# --- not another program's ----------------------------------------------------------------------------


def notes(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY)")


def same_names(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE payments (id INTEGER PRIMARY KEY)")


def other_migrations(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
    connection.execute("INSERT INTO alembic_version VALUES ('ae1027a6acf')")


def other_migrations_with_numbers(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
    connection.execute("INSERT INTO alembic_version VALUES ('0003')")
    connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY)")


def other_application(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA application_id = 252006673")  # Fossil's


def of_sqlite(make: Callable[[sqlite3.Connection], None]) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        connection = sqlite3.connect(file)
        make(connection)
        connection.commit()
        connection.close()

    return write


FOREIGN = [
    pytest.param(lambda file: file.write_text("halo\n"), "is not an SQLite database", id="a short text"),
    pytest.param(lambda file: file.write_bytes(bytes(5000)), "is not an SQLite database", id="zeros"),
    pytest.param(lambda file: file.write_text("halo\n" * 5000), "is not an SQLite database", id="a text"),
    pytest.param(of_sqlite(notes), "has tables that are not ours: notes", id="other tables"),
    pytest.param(of_sqlite(same_names), "has tables that are not ours: payments", id="a table of our name"),
    pytest.param(of_sqlite(other_migrations), "a migration that is not ours: ae1027a6acf", id="migrations"),
    pytest.param(of_sqlite(other_migrations_with_numbers), "is not ours: 0003", id="numbered migrations"),
    pytest.param(of_sqlite(other_application), "application_id 0xf055111", id="another application"),
]


@pytest.mark.parametrize(("make", "reason"), FOREIGN)
def test_a_file_of_another_program_is_refused_and_stays_as_it_is(
    make: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "payment.db"
    make(file)
    before = file.read_bytes()
    for command in ("migrate", "serve", "worker", "report"):
        environment = {"PATH": os.environ["PATH"], "PORT": "0"}
        ended = run_program("payment", [command], env=environment, cwd=tmp_path, timeout_s=30)
        assert ended.returncode == 1
        assert ended.stderr.startswith("Basis data milik program lain / another program's database: ")
        assert ended.stderr.count("\n") == 1, "one sentence"
        assert reason in ended.stderr
    assert file.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["payment.db"]


@pytest.mark.parametrize("make", [Path.touch, of_sqlite(lambda _: None)], ids=["no byte", "no table"])
def test_an_empty_file_is_taken(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "payment.db")
    assert migrate("sqlite:///payment.db", tmp_path) == (0, "")


def test_the_tables_that_ours_are_known_by_are_ours() -> None:
    assert set(metadata.tables) >= OUR_TABLES


@pytest.fixture
def other(postgres: URL) -> Iterator[URL]:
    """The URL of an empty PostgreSQL database."""
    name = f"other_{uuid4().hex}"
    yield create_database(postgres, name)
    drop_database(postgres, name)


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        pytest.param(
            ["CREATE TABLE bills (id int)", "CREATE TABLE notes (id int)"],
            "has tables that are not ours: bills",
            id="a table of our name",
        ),
        pytest.param(
            ["CREATE TABLE alembic_version (version_num text)", "INSERT INTO alembic_version VALUES ('ae1')"],
            "is at a migration that is not ours: ae1",
            id="another program's migrations",
        ),
    ],
)
def test_a_postgresql_of_another_program_is_refused(other: URL, statements: list[str], reason: str) -> None:
    database = open_database(other)
    with database.write() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    with pytest.raises(ForeignDatabase, match=reason):
        database.migrate()
    with pytest.raises(ForeignDatabase, match=reason):
        open_current(other)
    database.close()


def test_tables_of_others_may_stand_beside_ours_on_postgresql(other: URL) -> None:
    database = open_database(other)
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE notes (id int)")
    assert database.migrate() is True
    database.close()
    open_current(other).close()
