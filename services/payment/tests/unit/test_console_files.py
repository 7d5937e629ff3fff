"""What pages load: named by what it holds, kept by browsers, compressed for whoever takes that."""

import asyncio
import gzip
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import payment.console
from payment.console.files import Files

NAMES = ["console.css", "console.js", "htmx.min.js", "icon.svg"]
STATIC = Path(payment.console.__file__).parent / "static"
ROW = re.compile(r"^\| `([^`]+)` \| .* \| `([0-9a-f]{64})` \|$", re.MULTILINE)
OURS = {"console.css", "console.js", "icon.svg", "VENDORED.md"}


def get(files: Files, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the answer for a file."""
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope: Any = {"type": "http", "method": "GET", "path": path, "headers": raw}
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(files.send(scope, receive, send))
    start, body = sent
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, body["body"]


@pytest.fixture(scope="module")
def files() -> Files:
    return Files("/static")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_the_same_with_and_without_compression(files: Files, name: str) -> None:
    url = files.url(name)
    assert re.fullmatch(rf"/static/[0-9a-f]{{16}}/{re.escape(name)}", url)
    status, headers, body = get(files, url)
    assert (status, headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
    assert "content-encoding" not in headers
    _, packed, compressed = get(files, url, accept_encoding="gzip, br")
    assert packed["content-encoding"] == "gzip"
    assert gzip.decompress(compressed) == body
    assert len(compressed) < len(body)
    for each in (headers, packed):
        assert each["vary"] == "Accept-Encoding"
        assert each["x-content-type-options"] == "nosniff"
        assert each["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize(
    "path", ["/static/VENDORED.md", "/static/console.css", "/static/0123456789abcdef/console.css"]
)
def test_nothing_else_is_one(files: Files, path: str) -> None:
    assert not files.has(path)
    with pytest.raises(KeyError):
        files.url("VENDORED.md")


def test_who_refuses_gzip_gets_none(files: Files) -> None:
    _, headers, _ = get(files, files.url("console.css"), accept_encoding="gzip;q=0, identity")
    assert "content-encoding" not in headers


def test_words_of_others_make_no_page_wide_and_turn_none_round(files: Files) -> None:
    """A reason of one long word, a name, a neighbour's answer; and what writes from right to left."""
    _, _, body = get(files, files.url("console.css"))
    rules = dict(re.findall(r"^([^{}@\n]+?) \{ ([^{}]+) \}$", body.decode(), re.MULTILINE))
    assert "overflow-wrap: anywhere" in rules["body"]
    (others,) = (rule for names, rule in rules.items() if {"q", "code", ".client"} <= set(names.split(", ")))
    assert "unicode-bidi: isolate" in others
    assert "overflow-wrap: anywhere" in others


def test_what_is_not_ours_has_the_hash_that_is_written_down() -> None:
    written = dict(ROW.findall((STATIC / "VENDORED.md").read_text()))
    here = {file.name: sha256(file.read_bytes()).hexdigest() for file in STATIC.iterdir()}
    assert written == {name: found for name, found in here.items() if name not in OURS}
