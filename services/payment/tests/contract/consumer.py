"""Writes the contracts: `python consumer.py FOLDER` (`make contracts`), after each interaction was made once.

What is called, and what is relied on in the answers: `neighbours.py`, `restaurant.py`, `feed.py`.
"""

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pact import Pact

from feed import feed_interactions
from interaction import Interaction
from neighbours import ORDER, USER, interactions_with
from restaurant import restaurant_interactions

CONTRACTS: Mapping[tuple[str, str], Sequence[Interaction]] = {
    ("payment", "order"): interactions_with(ORDER),
    ("payment", "user"): interactions_with(USER),
    ("restaurant", "payment"): restaurant_interactions(),
    ("feed", "payment"): feed_interactions(),
}
"""By consumer and provider."""


def new_pact(consumer: str, provider: str) -> Pact:
    """Return an empty contract."""
    return Pact(consumer, provider).with_specification("V4")


def write_contracts(folder: Path) -> list[Path]:
    """Exercise every interaction and write the contracts into an empty folder.

    Raises:
        ValueError: a contract is empty, or two of its interactions have one description and state.
        AssertionError: a client did not do what it must do with an answer.
    """
    if list(folder.iterdir()):
        raise ValueError(f"{folder} is not empty, and Pact merges into what is there")
    return [
        write_contract(folder, consumer, provider, interactions)
        for (consumer, provider), interactions in CONTRACTS.items()
    ]


def write_contract(folder: Path, consumer: str, provider: str, interactions: Sequence[Interaction]) -> Path:
    """Write one contract; see `write_contracts`."""
    check_sound(f"{consumer}-{provider}", interactions)
    pact = new_pact(consumer, provider)
    for interaction in interactions:
        interaction.declare(pact)
    with pact.serve(addr="127.0.0.1") as server:
        for interaction in interactions:
            interaction.call(str(server.url))
    pact.write_file(folder)
    return folder / f"{consumer}-{provider}.json"


def check_sound(name: str, interactions: Sequence[Interaction]) -> None:
    """Refuse what Pact would accept in silence: nothing to verify, and one interaction replacing another.

    Raises:
        ValueError: says which.
    """
    if not interactions:
        raise ValueError(f"{name}: the contract has no interactions, so every provider would pass")
    seen = Counter((interaction.description, interaction.state) for interaction in interactions)
    twice = [description for (description, _), times in seen.items() if times > 1]
    if twice:
        raise ValueError(f"{name}: two interactions are called {twice[0]!r} in one state")


if __name__ == "__main__":
    for written in write_contracts(Path(sys.argv[1])):
        interactions = json.loads(written.read_text())["interactions"]
        sys.stdout.write(f"{written.name}: {len(interactions)} interactions\n")
