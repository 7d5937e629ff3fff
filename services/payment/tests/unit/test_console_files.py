"""What pages load that is not ours: unchanged."""

import re
from hashlib import sha256
from pathlib import Path

import payment.console

STATIC = Path(payment.console.__file__).parent / "static"
ROW = re.compile(r"^\| `([^`]+)` \| .* \| `([0-9a-f]{64})` \|$", re.MULTILINE)
OURS = {"console.css", "console.js", "icon.svg", "VENDORED.md"}


def test_what_is_not_ours_has_the_hash_that_is_written_down() -> None:
    written = dict(ROW.findall((STATIC / "VENDORED.md").read_text()))
    here = {file.name: sha256(file.read_bytes()).hexdigest() for file in STATIC.iterdir()}
    assert written == {name: found for name, found in here.items() if name not in OURS}
