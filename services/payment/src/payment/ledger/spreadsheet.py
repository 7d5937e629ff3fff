"""Rows as CSV that is safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Iterable
from typing import Any

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as lines of CSV (RFC 4180).

    A text that begins like a formula gets an apostrophe before it: a spreadsheet would run the formula
    (OWASP, "CSV Injection").
    """
    lines = io.StringIO()
    csv.writer(lines).writerows([_harmless(value) for value in row] for row in rows)
    return lines.getvalue()


def _harmless(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
