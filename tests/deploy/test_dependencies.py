"""`make audit` tells "none known" from "nobody knows"; Dependabot watches all that names versions."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

from described import ROOT

NAMES_VERSIONS = {  # of what Dependabot calls by these names; the group is the folder that it wants
    "pip": r"(requirements)/\w+\.txt|(.*)/requirements\.txt",
    "npm": r"(.*)/package\.json",
    "docker": r"(.*)/Dockerfile",
    "docker-compose": r"()docker-compose\.yml",
    "github-actions": r"()\.github/workflows/.*\.yml",
}
OF_CONNEXION = {
    "id": "GHSA-test-test-test",
    "modified": "2026-01-01T00:00:00Z",
    "published": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "connexion", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}],
        }
    ],
}


@contextmanager
def those_who_know(vulnerable: str = "") -> Iterator[str]:
    """Answer as OSV does: one package has a vulnerability, the others have none. Yield the URL."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = {"vulns": [OF_CONNEXION]} if asked["package"]["name"] == vulnerable else {}
            body = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def audit(url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "requirements" / "audit.py"), "--timeout", "5"]
    osv = ["--vulnerability-service", "osv", "--osv-url", url]
    return subprocess.run([*command, *osv], capture_output=True, text=True, check=False)


def test_an_audit_says_what_is_known() -> None:
    with those_who_know() as url:
        none = audit(url)
    assert (none.returncode, none.stdout[:14]) == (0, "none known in "), none.stderr
    with those_who_know("connexion") as url:
        some = audit(url)
    assert (some.returncode, some.stdout) == (1, "connexion 3.3.0: GHSA-test-test-test, mended in 99.0\n")


def test_an_audit_that_cannot_ask_says_so_and_ends_otherwise() -> None:
    unknown = audit("http://127.0.0.1:9")
    assert unknown.returncode == 3
    assert "NOT AUDITED: " in unknown.stderr
    assert unknown.stdout == ""


def test_dependabot_watches_all_that_names_versions_and_nothing_else() -> None:
    said = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())
    watched = {
        (update["package-ecosystem"], folder)
        for update in said["updates"]
        for folder in update.get("directories") or [update["directory"]]
    }
    command = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    assert watched == {
        (kind, "/" + "".join(filter(None, found.groups())))
        for kind, pattern in NAMES_VERSIONS.items()
        for file in files
        if (found := re.fullmatch(pattern, file))
    }
