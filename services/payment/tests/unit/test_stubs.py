"""The stubs start as their README says, and in their image as it is built, and demand a token if told to."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatch
from pathlib import Path

import httpx
import pytest
import yaml

from described import ROOT
from processes import Stub, http_client
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
    assert copied > {"requirements.txt", "order/app.py", "user/app.py", "qris/app.py", "qris/callbacks.py"}
    assert not [file for file in copied if "__pycache__" in file or file.endswith(".md")]
    with started(f"{name}/app.py", folder) as url:
        assert httpx.get(url + path, verify=False).json()["id"] == 1


TOKEN = "rahasia=4711/x"
PUTS = {"order": ("/orders/1/payment", "payment_status"), "user": ("/users/1/payment-service", "status")}


@pytest.fixture
def end() -> Iterator[ExitStack]:
    """Collect what has to end with the test; there is no database here."""
    with ExitStack() as stack:
        yield stack


def started_with(name: str, end: ExitStack, **environment: str) -> tuple[Stub, httpx.Client]:
    """Start a stub with these settings; return it, and a client of its routes."""
    stub = Stub(name, 20, **environment)
    end.callback(stub.kill)
    return stub, end.enter_context(http_client(stub.url))


@BOTH
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        TOKEN,
        "Bearer",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.upper()}",
        f"Bearer {TOKEN} {TOKEN}",
        "Bearer rahasi\u00e4",  # a character that compare_digest takes in no str
    ],
)
def test_who_brings_no_token_or_another_gets_401_and_changes_nothing(
    name: str, path: str, authorization: str | None, end: ExitStack
) -> None:
    stub, http = started_with(name, end, TOKEN=TOKEN)
    headers = [] if authorization is None else [(b"Authorization", authorization.encode("latin-1"))]
    put_path, field = PUTS[name]
    answers = [
        http.get(path, headers=headers),
        http.get(f"/{name}s/99999999", headers=headers),
        http.put(put_path, json={field: "paid"}, headers=headers),
    ]
    for answer in answers:
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json() == {"error": "Token tidak ada atau salah"}
    assert [(put["id"], put["status"], put["applied"]) for put in stub.received()] == [(1, "paid", False)]
    assert stub.states() == {}


@BOTH
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])  # a scheme has no case (RFC 9110, 11.1)
def test_who_brings_the_token_is_served(name: str, path: str, scheme: str, end: ExitStack) -> None:
    stub, http = started_with(name, end, TOKEN=TOKEN)
    http.headers["Authorization"] = f"{scheme} {TOKEN}"
    put_path, field = PUTS[name]
    assert http.put(put_path, json={field: "paid"}).status_code == 200
    assert http.get(path).status_code == 200
    assert stub.states() == {1: "paid"}


@BOTH
def test_what_is_not_the_services_own_is_open(name: str, path: str, end: ExitStack) -> None:
    """A route that does not exist too: a wrong path is to be seen as one, whatever the token."""
    stub, http = started_with(name, end, TOKEN=TOKEN)
    assert http.get("/health").json() == {"status": "ok"}
    stub.fault(answer=500)
    assert stub.faults() == [{"answer": 500}]
    assert http.get(f"{path}/nothing").status_code == 404
    assert http.put(PUTS[name][0], json={}).status_code == 401, "before any switch"


@BOTH
@pytest.mark.parametrize("environment", [{}, {"TOKEN": ""}], ids=["unset", "empty"])
def test_no_token_is_demanded_if_none_is_set(
    name: str, path: str, environment: dict[str, str], end: ExitStack
) -> None:
    _, http = started_with(name, end, **environment)
    put_path, field = PUTS[name]
    assert http.put(put_path, json={field: "paid"}).status_code == 200
    assert http.get(path, headers={"Authorization": "Bearer whatever"}).status_code == 200


@BOTH
def test_the_token_is_never_logged(name: str, path: str, end: ExitStack) -> None:
    stub, http = started_with(name, end, TOKEN=TOKEN, VERBOSE="1")
    for brought in (TOKEN, "geheim"):
        http.get(path, headers={"Authorization": f"Bearer {brought}"})
        http.put(PUTS[name][0], json={}, headers={"Authorization": f"Bearer {brought}"})
    stub.kill()
    said = "".join(stub.process.lines)
    assert said.count(" 401 ") == 2, said
    assert TOKEN not in said
    assert "geheim" not in said


@BOTH
def test_a_token_that_no_header_can_carry_stops_the_start_without_being_shown(
    name: str, path: str, tmp_path: Path
) -> None:
    del path
    app = str(STUBS / name / "app.py")
    process = Process([sys.executable, app], {"PORT": "0", "TOKEN": "geh eim"}, tmp_path)
    assert process.wait(10) == 2
    assert "".join(process.lines) == "TOKEN must be visible ASCII characters\n"


@pytest.mark.parametrize("name", ["order", "user"])
def test_compose_gives_a_stub_the_token_that_payment_sends_it(name: str) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    setting = f"{name.upper()}_SERVICE_TOKEN"
    assert services[name]["environment"]["TOKEN"] == f"${{{setting}:-}}"
    for payment in ("api", "worker"):
        assert setting in services[payment]["environment"]
