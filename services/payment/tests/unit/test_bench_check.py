"""`make bench-check`: what it says of figures, which this file makes up; nothing is counted here."""

import asyncio
import itertools
import json
from pathlib import Path

import pytest

from bench.calibration import work
from bench.check import ACCEPTED, PYTHON, TOLERANCES, accept, judge, say
from bench.instructions import CountError, total
from bench.open_loop import due_times
from bench.statement_log import count

SQLITE, POSTGRES = "sqlite, 1 at a time", "postgresql, 16 at a time"


@pytest.mark.parametrize("name", [SQLITE, POSTGRES])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_figure_stands_within_its_tolerance_and_no_further(name: str, sign: int) -> None:
    tolerance = sign * TOLERANCES[name.partition(",")[0]]
    within, beyond = 100 * (1 + tolerance * 0.95), 100 * (1 + tolerance * 1.05)
    assert judge({name: within}, {name: 100})[0].stands
    assert not judge({name: beyond}, {name: 100})[0].stands


def test_all_as_accepted_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert say({SQLITE: 10.1, POSTGRES: 20}, {SQLITE: 10, POSTGRES: 20}) == 0
    seen = capsys.readouterr()
    assert "+1.0%" in seen.out
    assert seen.err == ""


def test_one_that_is_dearer_is_1_and_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert say({SQLITE: 10.3, POSTGRES: 20}, {SQLITE: 10, POSTGRES: 20}) == 1
    seen = capsys.readouterr()
    assert [line.split()[-1] for line in seen.out.splitlines()[1:]] == ["DEARER", "accepted"]
    assert "make bench-check ACCEPT=1" in seen.err


def test_one_that_is_cheaper_is_1_too_so_that_the_gain_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert say({SQLITE: 9.5}, {SQLITE: 10}) == 1
    assert "CHEAPER" in capsys.readouterr().out


def test_a_figure_that_was_never_accepted_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert say({SQLITE: 10, POSTGRES: 20}, {SQLITE: 10}) == 2
    assert POSTGRES in capsys.readouterr().err


def test_what_is_accepted_leaves_the_other_pythons_and_databases_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    accept({SQLITE: 1.5, POSTGRES: 3}, file, "3.11")
    accept({SQLITE: 2.5}, file, "3.12")
    accept({SQLITE: 1.25}, file, "3.11")
    assert json.loads(file.read_text()) == {"3.11": {SQLITE: 1.25, POSTGRES: 3}, "3.12": {SQLITE: 2.5}}


def test_figures_are_accepted_for_this_python() -> None:
    assert {name.partition(",")[0] for name in json.loads(ACCEPTED.read_text())[PYTHON]} == set(TOLERANCES)


def test_the_total_of_a_dump_is_read(tmp_path: Path) -> None:
    dump = tmp_path / "out.1"
    dump.write_text("version: 1\nsummary: 7\n\nfn=(1) main\n1 9\ntotals: 86794\n")
    assert total(dump) == 86794
    dump.write_text("version: 1\n")
    with pytest.raises(CountError):
        total(dump)


def test_the_calibration_is_the_work_that_the_accepted_figures_were_divided_by() -> None:
    assert asyncio.run(work(12)) == 85


def test_an_open_loop_is_due_at_the_same_uneven_times_whatever_is_answered() -> None:
    times = list(due_times(1000, 4))
    assert times == list(due_times(1000, 4))
    assert times == sorted(times)
    assert len(times) == pytest.approx(4000, rel=0.1)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert max(gaps) > 4 / 1000 > 0.1 / 1000 > min(gaps)


def test_each_statement_of_a_text_of_several_is_counted_but_no_notify() -> None:
    log = """7 LOG:  statement: BEGIN; SELECT 1
\tFROM bills;INSERT INTO payments VALUES (1);
8 LOG:  statement: NOTIFY payment_outbox
7 LOG:  duration: 3 ms
7 LOG:  execute s1: COMMIT
7 DETAIL:  parameters: $1 = 'a;b;c'
"""
    assert count(log) == 4
    assert count("8 LOG:  duration: 3 ms\n") == 0
