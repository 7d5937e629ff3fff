"""`make pact-publish`, `can-i-deploy` and `record-deployment`, up to the requests that they make.

No broker can be installed here, so a small server stands for one: it answers what the commands look at, in
the broker's documented form, and remembers what it was asked.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest

from described import ROOT

ENVIRONMENTS = {"production": "c540ce64-5493-48c5-ab7c-28dae27b166b", "test": "16926ef3-590f-4e3f-838e"}


class Asked(NamedTuple):
    """A request that reached the broker."""

    method: str
    path: str
    query: list[tuple[str, str]]
    authorization: str | None
    body: Any


class Broker:
    """A Pact Broker, as far as the three commands look.

    Attributes:
        asked: the requests, in order.
        verified: what the matrix says of the version.
        refuses: whether it turns publishing down.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.verified = True
        self.refuses = False
        broker = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """Answer, and remember."""
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                url = urlsplit(self.path)
                asked = Asked(
                    self.command, url.path, parse_qsl(url.query), self.headers.get("Authorization"), body
                )
                broker.asked.append(asked)
                status, answer = broker.answer(asked)
                sent = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/hal+json;charset=utf-8")
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            do_POST = do_GET  # noqa: N815  # the standard library's name

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def answer(self, asked: Asked) -> tuple[int, Any]:
        """Return the status and the body."""
        status = 200
        answer: dict[str, Any]
        match asked.method, asked.path.split("/")[1:]:
            case "GET", [""]:
                answer = {"_links": {"pb:publish-contracts": {"href": f"{self.url}/contracts/publish"}}}
            case "POST", ["contracts", "publish"] if self.refuses:
                status, answer = 400, {"errors": {"contracts": ["a published pact cannot be changed"]}}
            case "POST", ["contracts", "publish"]:
                answer = self._published(
                    asked.body["pacticipantName"], asked.body["pacticipantVersionNumber"]
                )
            case "GET", ["matrix"]:
                summary = {"deployable": self.verified, "reason": "", "success": 2, "failed": 0, "unknown": 0}
                answer = {"summary": summary, "notices": [], "matrix": []}
            case "GET", ["pacticipants", "payment", "versions", version]:
                environments = f"{self.url}{asked.path}/deployed-versions/environment"
                links = [
                    {"name": name, "href": f"{environments}/{uuid}"} for name, uuid in ENVIRONMENTS.items()
                ]
                answer = {"number": version, "_links": {"pb:record-deployment": links}}
            case "POST", ["pacticipants", "payment", "versions", _, "deployed-versions", "environment", uuid]:
                status, answer = 201, {"uuid": uuid, "currentlyDeployed": True}
            case _:
                status, answer = 404, {"error": "the broker does not have this"}
        return status, answer

    def _published(self, name: str, number: str) -> dict[str, Any]:
        return {
            "notices": [{"type": "success", "text": "Pact successfully published"}],
            "_embedded": {"pacticipant": {"name": name}, "version": {"number": number}},
            "_links": {
                "pb:pacticipant": {"name": name, "href": self.url},
                "pb:pacticipant-version": {"name": number, "href": self.url},
                "pb:contracts": [{"name": "Pact", "href": self.url}],
            },
        }

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A running broker."""
    broker = Broker()
    yield broker
    broker.close()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with our Makefile and contracts, on the branch `split-bills`."""
    (tmp_path / "contracts").mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path)
    for contract in (ROOT / "contracts").glob("*-*.json"):
        shutil.copy(contract, tmp_path / "contracts")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    git(tmp_path, "init", "--quiet", "--initial-branch=split-bills")
    git(tmp_path, "add", "contracts")
    git(tmp_path, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "--quiet", "--message=contracts")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},  # nobody's settings
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def make(
    folder: Path, *arguments: str, broker: Broker | None = None, token: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run make with a CI's environment; what `install` would do is done."""
    environment = {"PATH": os.environ["PATH"]}
    if broker is not None:
        environment["PACT_BROKER_BASE_URL"] = broker.url
    if token:
        environment["PACT_BROKER_TOKEN"] = token
    return subprocess.run(
        ["make", "--old-file=install", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_both_consumer_contracts_are_published_under_commit_and_branch(
    broker: Broker, repository: Path
) -> None:
    """And not the restaurant's: its own team publishes what it relies on."""
    ran = make(repository, "pact-publish", broker=broker, token="secret-token")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    published = [asked for asked in broker.asked if asked.method == "POST"]
    assert {asked.path for asked in published} == {"/contracts/publish"}
    contracts = {}
    for asked in published:
        assert asked.body["pacticipantName"] == "payment"
        assert asked.body["pacticipantVersionNumber"] == git(repository, "rev-parse", "HEAD")
        assert asked.body["branch"] == "split-bills"
        for contract in asked.body["contracts"]:
            assert (contract["consumerName"], contract["specification"]) == ("payment", "pact")
            contracts[contract["providerName"]] = json.loads(base64.b64decode(contract["content"]))
    assert set(contracts) == {"order", "user"}
    for provider, content in contracts.items():
        committed = json.loads((ROOT / "contracts" / f"payment-{provider}.json").read_text())
        assert content["interactions"] == committed["interactions"]
    assert {asked.authorization for asked in broker.asked} == {"Bearer secret-token"}
    assert "secret-token" not in ran.stdout + ran.stderr
    assert "PACT_DO_NOT_TRACK=true" in ran.stdout


def test_whether_the_commit_can_be_deployed_is_the_matrix_s_answer(broker: Broker, repository: Path) -> None:
    ran = make(repository, "can-i-deploy", broker=broker)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (asked,) = broker.asked
    assert (asked.method, asked.path) == ("GET", "/matrix")
    query = dict(asked.query)
    assert query["q[][pacticipant]"] == "payment"
    assert query["q[][version]"] == git(repository, "rev-parse", "HEAD")
    assert query["environment"] == "production"
    assert asked.authorization is None

    broker.verified = False
    ran = make(repository, "can-i-deploy", "ENVIRONMENT=test", broker=broker)
    assert ran.returncode == 2
    assert dict(broker.asked[-1].query)["environment"] == "test"


def test_a_deployment_is_recorded_in_its_environment(broker: Broker, repository: Path) -> None:
    sha = git(repository, "rev-parse", "HEAD")
    for arguments, environment in ([], "production"), (["ENVIRONMENT=test"], "test"):
        ran = make(repository, "record-deployment", *arguments, broker=broker)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        version = f"/pacticipants/payment/versions/{sha}"
        recorded = f"{version}/deployed-versions/environment/{ENVIRONMENTS[environment]}"
        assert [(asked.method, asked.path) for asked in broker.asked] == [
            ("GET", version),
            ("POST", recorded),
        ]
        broker.asked.clear()

    ran = make(repository, "record-deployment", "ENVIRONMENT=moon", broker=broker)
    assert ran.returncode == 2
    assert "moon" in ran.stdout
    assert not any(asked.method == "POST" for asked in broker.asked)


def test_a_broker_that_refuses_a_contract_fails_the_command(broker: Broker, repository: Path) -> None:
    broker.refuses = True
    assert make(repository, "pact-publish", broker=broker).returncode == 2


@pytest.mark.parametrize("target", ["pact-publish", "can-i-deploy", "record-deployment"])
def test_without_the_address_of_a_broker_one_line_says_so(target: str, repository: Path) -> None:
    ran = make(repository, target)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert "PACT_BROKER_BASE_URL=… is missing" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_what_is_not_committed_is_not_published(broker: Broker, repository: Path) -> None:
    """The version is a commit; it must be what was published."""
    changed = repository / "contracts" / "payment-order.json"
    changed.write_text(changed.read_text().replace("paid", "lunas"))
    ran = make(repository, "pact-publish", broker=broker)
    assert ran.returncode == 2
    assert "contracts/ differs from the commit" in ran.stderr
    assert broker.asked == []


def test_without_a_branch_it_has_to_be_named(broker: Broker, repository: Path) -> None:
    """CI often checks out a commit, not a branch."""
    git(repository, "checkout", "--quiet", "--detach")
    ran = make(repository, "pact-publish", broker=broker)
    assert ran.returncode == 2
    assert "BRANCH=… is missing" in ran.stderr
    assert broker.asked == []

    ran = make(repository, "pact-publish", "BRANCH=main", broker=broker)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert {asked.body["branch"] for asked in broker.asked if asked.body} == {"main"}
