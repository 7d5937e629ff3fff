"""Connections to databases that a test opened and nobody closed.

Python complains when it collects one, which may be in any later test of the same process.
"""

import os
from typing import Any

from sqlalchemy import event
from sqlalchemy.pool import Pool

_OPENED_BY: dict[Any, str] = {}


def watch_connections() -> None:
    """Note every connection that is opened in this process from now on."""
    event.listen(Pool, "connect", _opened)
    for ending in ("close", "detach"):  # a detached one is closed by whoever took it from the pool
        event.listen(Pool, ending, _closed)


def left_open() -> set[str]:
    """Return which tests opened connections that are still open, and forget them."""
    tests = set(_OPENED_BY.values())
    _OPENED_BY.clear()
    return tests


def _opened(connection: Any, _record: Any) -> None:
    _OPENED_BY[connection] = os.environ.get("PYTEST_CURRENT_TEST", "no test")


def _closed(connection: Any, _record: Any) -> None:
    _OPENED_BY.pop(connection, None)
