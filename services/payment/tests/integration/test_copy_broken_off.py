"""`payment copy`, broken off and killed: at most one of the two is served, and it goes on if run again."""

import os
import random
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import URL, make_url, text

from forked import Forked
from moved_databases import command, content, copy, copying, is_served
from payment.storage.opening import open_database
from postgres import create_database, drop_database

BOTH_WAYS = pytest.mark.parametrize("ends", ["to PostgreSQL", "to SQLite"], indirect=True)


@pytest.fixture
def ends(
    request: pytest.FixtureRequest, lived: Path, tmp_path: Path, postgres: URL
) -> Iterator[tuple[str, str]]:
    """The URLs of a database with a whole life, and of an empty one of the other kind."""
    name = f"payment_{uuid4().hex}"
    on_server = create_database(postgres, name).render_as_string(hide_password=False)
    file = f"sqlite:///{shutil.copy(lived, tmp_path / 'payment.db')}"
    if request.param == "to PostgreSQL":
        yield file, on_server
    else:
        copy(file, on_server)
        yield on_server, f"sqlite:///{tmp_path / 'back.db'}"
    drop_database(postgres, name)


@BOTH_WAYS
def test_broken_off_ever_later_it_goes_on_where_it_was(ends: tuple[str, str]) -> None:
    source, target = ends
    before = content(source)
    for steps in range(1, 1_000, 3):
        with copying(source, target) as copied:
            run = copied.run()
            done = list(islice(run, steps))
            is_over = len(done) < steps
            run.close()
        assert done == sorted(done)
        assert (is_served(source), is_served(target)) in {(True, False), (False, is_over)}, steps
        if is_over:
            break
    assert steps > 10
    assert content(target) == before


@BOTH_WAYS
def test_killed_at_any_moment_and_run_again(ends: tuple[str, str], rounds: range) -> None:
    """Nobody ever finds two databases to pay in, or half of one; what the killed one held is free again."""
    source, target = ends
    before = content(source)
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": source}
    drawn = random.Random(len(rounds))
    for _ in rounds[::2]:
        killed = Forked("payment", ("copy", "--to", target), env=environment, cwd=None)
        time.sleep(drawn.uniform(0.05, 0.5))  # when it dies is chance
        killed.kill()
        killed.wait(10)
        killed.stdout.close()
        served = is_served(source), is_served(target)
        assert served != (True, True)
        if served[1]:
            break
        if served[0]:  # its owner may go on with it
            pay_one(source)
            before = content(source)
    if not is_served(target):
        said = command("copy", "--to", target, DATABASE_URL=source)
        assert (said.returncode, said.stderr) == (0, "")
    assert (is_served(source), is_served(target)) == (False, True)
    assert content(target) == before


def pay_one(url: str) -> None:
    """Change a row, as a payment would."""
    database = open_database(make_url(url))
    with database.write() as connection:
        connection.execute(text("UPDATE bills SET total = total + 1 WHERE order_id = 900000"))
    database.close()


def test_a_target_that_was_begun_from_elsewhere_is_left_alone(lived: Path, tmp_path: Path) -> None:
    one, other = (f"sqlite:///{shutil.copy(lived, tmp_path / name)}" for name in ("one.db", "other.db"))
    target = f"sqlite:///{tmp_path / 'target.db'}"
    with copying(one, target) as copied:
        run = copied.run()
        next(run)
        run.close()
    refused = command("copy", "--from", other, "--to", target)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"Belum selesai disalin / not copied to the end from {one}" in refused.stderr
    for arguments in (["serve"], ["worker"], ["migrate"], ["report"]):
        said = command(*arguments, DATABASE_URL=target)
        assert (said.returncode, len(said.stderr.splitlines())) == (1, 1)
        assert "jalankan lagi / run again: payment copy" in said.stderr
    assert copy(one, target)["payments"] > 1_000


def test_a_table_that_is_not_as_it_should_be_is_filled_anew(lived: Path, tmp_path: Path) -> None:
    """Whatever became of the target while nobody copied."""
    source, file = f"sqlite:///{shutil.copy(lived, tmp_path / 'payment.db')}", tmp_path / "target.db"
    before = content(source)
    with copying(source, f"sqlite:///{file}") as copied:
        run = copied.run()
        assert any(done > 0.9 for done in run)
        run.close()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DROP TRIGGER moved_payments_UPDATE")
        connection.execute(
            "UPDATE payments SET amount = amount + 1 WHERE id = (SELECT max(id) FROM payments)"
        )
    copy(source, f"sqlite:///{file}")
    assert content(f"sqlite:///{file}") == before
