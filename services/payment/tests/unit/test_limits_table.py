"""The table of limits in docs/operations.md is that of the code; each limit has a test past it."""

import pkgutil
import re
import warnings

import pytest

from described import ROOT
from payment.core.settings import Settings, read_settings

IS_LIMIT = re.compile(r"_max(_bytes|_s)?$|_timeout_s$")
ELSEWHERE = {"RETRY_MAX_S": "wait_max_s"}
"""Settings that are kept within another object."""

Row = tuple[str, str, str]


def rows() -> list[Row]:
    """Return what the table says: where the limit is, its default, and the test."""
    table = (ROOT / "docs" / "operations.md").read_text().split("\n## Limits\n")[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")][1:]
    found = [re.fullmatch(r" (?:`([\w.]+)` \()?([\d.]+)\)? ", cells[1]) for cells in lines]
    assert all(found), "a name and its default in brackets, or a number alone"
    return [
        (each[1] or "", each[2], cells[3].strip(" `"))
        for each, cells in zip(found, lines, strict=True)
        if each
    ]


def value_of(name: str) -> float:
    """Return the default of a setting, or the value of a constant."""
    if name.isupper():
        settings = read_settings()
        holder = settings.retry if name in ELSEWHERE else settings
        return float(getattr(holder, ELSEWHERE.get(name, name.lower())))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Connexion's own
        return float(pkgutil.resolve_name(f"payment.{name}"))


@pytest.mark.parametrize(("name", "default"), [(name, default) for name, default, _ in rows() if name])
def test_the_table_says_what_the_code_does(name: str, default: str) -> None:
    assert value_of(name) == float(default)


def test_each_limit_has_a_test() -> None:
    tests = ROOT / "services" / "payment" / "tests"
    text = "".join(file.read_text() for file in tests.rglob("test_*.py"))
    assert [test for _, _, test in rows() if f"def {test}(" not in text] == []


def test_each_setting_that_is_a_limit_is_in_the_table() -> None:
    settings = {name.upper() for name in Settings.__dataclass_fields__ if IS_LIMIT.search(name)}
    assert len(settings) > 8
    assert settings - {name for name, _, _ in rows()} == set()
