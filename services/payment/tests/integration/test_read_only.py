"""A database that can only be read: not ready, and says why; it pays nothing and reads everything."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from conftest import POOLED
from payment.storage.opening import open_database
from postgres import PostgresServer, create_database
from processes import Service, wait_for, wait_until_all_told

Start = Callable[..., Service]


def assert_can_only_be_read(service: Service, because: str, in_log: str) -> None:
    """Hold that it is not ready for this reason, refuses what would write, and reads payment 1."""
    ready = service.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
    assert ready.json()["error"] == f"the database can only be read: {because}"
    assert service.http.get("/healthz").status_code == 200
    for refused in (service.pay(2), service.pay(3, Idempotency_Key="k"), service.refund(1)):
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert set(refused.json()) == {"error"}
    wait_for(
        lambda: any(line["event"] == "batch failed" and in_log in line["error"] for line in service.log()),
        what=f"batch failed: {in_log}",
    )
    assert service.http.get("/payments/1").json()["status"] == "paid"
    assert "Traceback" not in "".join(service.process.lines)


def set_read_only(database_url: str) -> None:
    """Let every later transaction of the database only read."""
    database = open_database(make_url(database_url))
    with database.write() as connection:
        name = database.url.database
        connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
    with database.read() as connection:  # what a pooler has open does not know it yet
        sessions = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        connection.execute(text(f"SELECT pg_terminate_backend(pid) {sessions}"))
    database.close()


@pytest.mark.parametrize("database_url", ["postgresql", POOLED[0]], indirect=True)
def test_a_database_that_is_set_to_be_read(start: Start, direct: str) -> None:
    assert start("serve", "--no-worker").pay(1).status_code == 201
    set_read_only(direct)
    service = start()
    assert_can_only_be_read(service, "default_transaction_read_only is on", "in a read-only transaction")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_reconcile_needs_only_to_read(start: Start, direct: str) -> None:
    service = start()
    service.pay(1)
    wait_until_all_told(service)
    assert service.stop() == 0
    set_read_only(direct)
    run = service.cli("reconcile", "--json")
    assert (run.returncode, run.stdout.count("\n")) == (0, 1), run.stderr
    assert '"agrees": 2' in run.stdout


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # for `end`
def test_a_standby_is_not_ready_until_it_is_promoted(end: ExitStack, tmp_path: Path) -> None:
    primary = PostgresServer()
    end.callback(primary.remove)
    url = create_database(primary.url, "payment")
    database = open_database(url)
    database.migrate()
    database.close()
    direct = Service({"DATABASE_URL": url.render_as_string()}, "serve", "--no-worker", cwd=tmp_path)
    end.callback(direct.kill)
    assert direct.pay(1).status_code == 201
    standby = PostgresServer(standby_of=primary)
    end.callback(standby.remove)
    address = url.set(port=standby.port).render_as_string()
    service = Service({"DATABASE_URL": address}, "serve", "--no-worker", cwd=tmp_path)
    end.callback(service.kill)
    wait_for(lambda: service.http.get("/payments/1").status_code == 200, what="the standby has it")
    assert_can_only_be_read(service, "it is a standby", "in a read-only transaction")
    primary.kill()
    standby.promote()
    wait_for(lambda: service.http.get("/readyz").status_code == 200, what="it is the primary")
    assert service.pay(2).status_code == 201


def service_without_power(migrated_file: Path, end: ExitStack, tmp_path: Path) -> tuple[Path, Service]:
    """Return the folder of a database file, and a service on it whose user must heed the files' modes."""
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(migrated_file, folder / "payment.db")
    environment = {"DATABASE_URL": f"sqlite:///{folder}/payment.db"}
    service = Service(environment, "serve", "--no-worker", cwd=tmp_path, powerless=True)
    end.callback(service.kill)
    return folder, service


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_file_that_may_not_be_written(
    migrated_file: Path, database_url: str, end: ExitStack, tmp_path: Path
) -> None:
    del database_url
    folder, service = service_without_power(migrated_file, end, tmp_path)
    assert service.pay(1).status_code == 201
    assert service.http.get("/readyz").status_code == 200
    assert service.stop() == 0
    (folder / "payment.db").chmod(0o400)
    service.start()
    reason = "this user may not write to payment.db"
    assert_can_only_be_read(service, reason, "attempt to write a readonly database")
    assert service.stop() == 0
    (folder / "payment.db").chmod(0o600)
    service.start()
    said = service.http.get("/readyz").json()["error"]
    assert "may not write to payment.db-" in said, "SQLite made them alike"
    assert service.stop() == 0
    for each in folder.iterdir():
        each.chmod(0o600)
    service.start()
    assert service.pay(2).status_code == 201


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_folder_that_may_not_be_written_and_a_file_that_is_gone(
    migrated_file: Path, database_url: str, end: ExitStack, tmp_path: Path
) -> None:
    """The next start could not make its log there; what is written to a file that is gone is gone with it."""
    del database_url
    folder, service = service_without_power(migrated_file, end, tmp_path)
    folder.chmod(0o500)
    try:
        said = service.http.get("/readyz").json()["error"]
        assert said == "the database can only be read: this user may not write to the folder of payment.db"
    finally:
        folder.chmod(0o700)
    assert service.http.get("/readyz").status_code == 200
    (folder / "payment.db").rename(folder / "elsewhere.db")
    ready = service.http.get("/readyz")
    assert ready.status_code == 503
    assert "payment.db is gone" in ready.json()["error"]
