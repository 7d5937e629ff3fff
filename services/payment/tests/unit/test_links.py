"""Every link of our documents leads somewhere: the file is there, and so is the heading."""

import re
import subprocess
from pathlib import Path

import pytest

from described import ROOT

CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def documents() -> list[Path]:
    """Return the Markdown files of the repository, whatever else lies in the folder."""
    listed = subprocess.run(
        # whoever owns the checkout
        [
            *("git", "-c", "safe.directory=*", "ls-files"),
            "--cached",
            "--others",
            "--exclude-standard",
            "*.md",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = [LINK.sub("]", heading) for heading in HEADING.findall(re.sub(r"(?ms)^```.*?^```", "", text))]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken(document: Path, text: str) -> list[str]:
    """Return the links of a text that lead nowhere, if it stands in this document."""
    found = []
    for link in LINK.findall(CODE.sub("", text)):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists():
            found.append(link)
        elif anchor and target.suffix == ".md":
            there = target.read_text() if path else text
            found += [link] * (anchor not in anchors(there))
    return found


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    assert broken(document, document.read_text()) == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    text = (
        "# A page\n[a](#a-page) [b](#another) [c](LICENSE) [d](NOTHING.md) [e](docs/qris.md#nothing) `[f](g)`"
    )
    assert broken(ROOT / "README.md", text) == ["#another", "NOTHING.md", "docs/qris.md#nothing"]
