"""Work of the kind that a payment is, which never changes: what a payment's instructions are divided by.

python calibration.py ROUNDS. It uses the standard library alone, so it says how many instructions this build
of Python takes, whatever is installed beside it.
"""

import asyncio
import json
import re
import sys
from dataclasses import asdict, dataclass

WORD = re.compile(r"[a-z]+-(\d+)")


@dataclass(frozen=True)
class Thing:
    """Something with fields."""

    number: int
    name: str
    tags: tuple[str, ...]


async def work(number: int) -> int:
    """Read, check, decide, write: a round."""
    text = json.dumps({"number": number, "name": f"name-{number}", "tags": ["paid", "cash"]})
    read = json.loads(text)
    found = WORD.fullmatch(read["name"])
    assert found is not None
    thing = Thing(int(found[1]), read["name"], tuple(sorted(read["tags"])))
    await asyncio.sleep(0)
    by_tag = {tag: [each for each in range(20) if each % 3] for tag in thing.tags}
    return len(json.dumps(asdict(thing))) + sum(map(len, by_tag.values()))


async def main(rounds: int) -> None:
    """So many rounds."""
    for number in range(rounds):
        await work(number)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
