"""A change of the clients does not go unnoticed."""

import pytest

from mutants import MUTANTS, noticed_by


def test_the_clients_as_they_are_keep_every_promise() -> None:
    assert noticed_by(None) is None


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_of_the_clients_breaks_a_promise(name: str) -> None:
    assert noticed_by(MUTANTS[name]) is not None
