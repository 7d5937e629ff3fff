"""The files for nginx and Caddy, run by these: TLS in front, the whole of the service behind."""

import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from key_holders import holder
from payment_life import new_order_id
from ports import free_port
from processes import Service, wait_for

PROXIES = Path(__file__).resolve().parents[2] / "deploy" / "proxy"
NAME = "pay.example"
SBIN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"


class Till:
    """A client that comes from outside, by the name.

    Args:
        port: where the proxy is.
        trust: whose certificates are right.
        key: the API key.
    """

    def __init__(self, port: int, trust: ssl.SSLContext, key: str) -> None:
        self._http = httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trust, trust_env=False)
        self._headers = {"Host": NAME, "Authorization": f"Bearer {key}"}

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request, read the whole answer."""
        answer = self.open(method, path, **options)
        answer.read()
        return answer

    def open(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        """Send a request; what is answered is still to be read."""
        headers = {**self._headers, **(headers or {})}
        asked = self._http.build_request(
            method, path, headers=headers, extensions={"sni_hostname": NAME}, **options
        )
        return self._http.send(asked, stream=True)

    def close(self) -> None:
        """End all connections."""
        self._http.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the settings that the files name."""
    folder = tmp_path_factory.mktemp("behind")
    settings = {"DATABASE_URL": f"sqlite:///{folder}/payment.db", "AUTH": "keys", "ALLOWED_HOSTS": NAME}
    running = Service(settings, "serve", "--no-worker", cwd=folder)
    yield running
    running.kill()


@pytest.fixture(scope="module")
def key(service: Service) -> str:
    """The key of somebody who may do everything."""
    return holder(service, "admin").key


@pytest.fixture(params=["nginx", "caddy"])
def till(request: pytest.FixtureRequest, service: Service, key: str, tmp_path: Path) -> Iterator[Till]:
    """A client of the service behind a proxy that reads our file, with other ports and certificates."""
    program = shutil.which(request.param, path=SBIN)
    if program is None:
        pytest.skip(f"NOT RUN, there is no {request.param} here: apt-get install {request.param}")
    ca = trustme.CA()
    certificate = ca.issue_cert(NAME)
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "chain.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    port = free_port()
    written = _nginx if request.param == "nginx" else _caddy
    command = [program, *written(tmp_path, port, service.url.removeprefix("http://"))]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env={"PATH": SBIN, "HOME": str(tmp_path)}, stderr=log)
    trust = ssl.create_default_context()
    ca.configure_trust(trust)
    client = Till(port, trust, key)

    def is_up() -> bool:
        assert process.poll() is None, (tmp_path / "log").read_text()
        try:
            return client.send("GET", "/readyz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_for(is_up, 20)
        yield client
    finally:
        client.close()
        process.kill()
        process.wait()


def _nginx(folder: Path, port: int, behind: str) -> list[str]:
    site = (PROXIES / "nginx.conf").read_text()
    for was, is_here in {
        "127.0.0.1:5004": behind,
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "listen 80": f"listen 127.0.0.1:{free_port()}",
        "/etc/letsencrypt/live/pay.example/fullchain.pem": f"{folder}/chain.pem",
        "/etc/letsencrypt/live/pay.example/privkey.pem": f"{folder}/key.pem",
    }.items():
        assert was in site, was
        site = site.replace(was, is_here)
    (folder / "site.conf").write_text(site)
    kept = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr;\n"
        f"events {{}}\nhttp {{ access_log off;\n{kept}include {folder}/site.conf; }}\n"
    )
    return ["-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def _caddy(folder: Path, port: int, behind: str) -> list[str]:
    site = (PROXIES / "Caddyfile").read_text()
    here = f"{NAME}:{port} {{\n\ttls {folder}/chain.pem {folder}/key.pem"  # no certificate comes from outside
    for was, is_here in {f"{NAME} {{": here, "127.0.0.1:5004": behind}.items():
        assert was in site, was
        site = site.replace(was, is_here, 1)
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{site}")
    return ["run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


def paid() -> dict[str, int]:
    return {"order_id": new_order_id(), "user_id": 1, "amount": 20_000}


def test_the_service_is_behind_the_proxy_but_for_its_metrics(till: Till) -> None:
    body = paid()
    made = till.send("POST", "/payments", json=body)
    assert made.status_code == 201, made.text
    assert till.send("GET", made.headers["location"]).json()["order_id"] == body["order_id"]
    refused = till.send("POST", "/payments", content=b"x" * 900_000)
    assert (refused.status_code, refused.headers["content-type"]) == (413, "application/json"), (
        "our own words"
    )
    assert till.send("GET", "/metrics").status_code == 404


def test_a_browser_that_came_by_https_signs_in(till: Till, key: str) -> None:
    page = till.send("GET", "/console/sign-in")
    cookie = page.headers["set-cookie"]
    assert re.search("; secure", cookie, re.IGNORECASE)
    token = re.findall('name="token" value="([^"]*)"', page.text)[0]
    form = {"token": token, "back": "/console", "key": key}
    browser = {"Origin": f"https://{NAME}", "Cookie": cookie.partition(";")[0]}
    signed_in = till.send("POST", "/console/sign-in", data=form, headers=browser)
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/console"), signed_in.text


def test_an_event_comes_at_once_and_not_when_a_buffer_is_full(till: Till) -> None:
    till.send("POST", "/payments", json=paid())
    stream = till.open("GET", "/events", params={"after": "newest"}, headers={"Accept": "text/event-stream"})
    try:
        lines = stream.iter_lines()
        body = paid()
        assert till.send("POST", "/payments", json=body).status_code == 201
        told = next(line for line in lines if f'"order_id":{body["order_id"]},' in line)
        assert told.startswith("data:")
    finally:
        stream.close()
