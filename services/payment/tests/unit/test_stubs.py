"""The stubs start as their README says, and in their image as it is built."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

import httpx
import pytest

from described import ROOT
from programs import Process

STUBS = ROOT / "services" / "stubs"
BOTH = pytest.mark.parametrize(("name", "path"), [("order", "/orders/1"), ("user", "/users/1")])


@contextmanager
def started(app: str, folder: Path) -> Iterator[str]:
    """Start a stub by hand in a folder, on a free port; give its address."""
    process = Process([sys.executable, app], {"PORT": "0"}, cwd=folder)
    yield process.line_with(" stub on ").split(" stub on ")[1].strip()
    assert process.stop() == 0


def built(folder: Path) -> Path:
    """Copy what the Dockerfile copies, as far as .dockerignore lets it."""
    _, *allowed = (line.removeprefix("!") for line in (STUBS / ".dockerignore").read_text().split())
    for line in (STUBS / "Dockerfile").read_text().splitlines():
        if not line.startswith("COPY "):
            continue
        _, source, target = line.split()
        files = [file for file in (STUBS / source, *(STUBS / source).rglob("*")) if file.is_file()]
        assert files, line
        for file in files:
            if any(fnmatch(str(file.relative_to(STUBS)), pattern) for pattern in allowed):
                is_folder = (STUBS / source).is_dir()
                below = file.relative_to(STUBS / source) if is_folder else Path(file.name)
                at = folder / target / below if is_folder or target.endswith("/") else folder / target
                at.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, at)
    return folder


@BOTH
def test_a_stub_starts_by_hand_from_the_root(name: str, path: str) -> None:
    with started(f"services/stubs/{name}/app.py", ROOT) as url:
        assert httpx.get(url + path, verify=False).json()["id"] == 1


@BOTH
def test_the_image_has_all_that_a_stub_needs(name: str, path: str, tmp_path: Path) -> None:
    folder = built(tmp_path / "app")
    copied = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert copied > {"requirements.txt", "order/app.py", "user/app.py"}
    assert not [file for file in copied if "__pycache__" in file or file.endswith(".md")]
    with started(f"{name}/app.py", folder) as url:
        assert httpx.get(url + path, verify=False).json()["id"] == 1
