"""A change of the clients does not go unnoticed."""

import threading

import pytest

from mutants import MUTANTS, noticed_by
from processes import wait_for


def serving() -> list[str]:
    """Return the threads in which a server runs."""
    return [thread.name for thread in threading.enumerate() if "serve_forever" in thread.name]


def test_the_clients_as_they_are_keep_every_promise() -> None:
    assert noticed_by(None) is None


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_of_the_clients_breaks_a_promise(name: str) -> None:
    """And the servers of that promise end: one that is left has this process busy until pytest ends."""
    before = serving()
    assert noticed_by(MUTANTS[name]) is not None
    wait_for(lambda: serving() == before, what="no server is left")
