"""The program for the providers' teams: services that are not open, and runs that say nothing."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest
import trustme

from described import ROOT
from forked import run
from payment_contracts.access import Access
from payment_contracts.loopback import Handler, serve
from payment_contracts.replay import find_contract, verify
from payment_contracts.verdict import BROKEN, HOLDS, INVALID
from processes import Stub
from programs import Process

GUARDED = Path(__file__).with_name("guarded.py")
TOKEN = "s3cret-of-the-tests"


def run_verify(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run the program in a bare environment; return its exit code and all it says, never a token."""
    env = {"PATH": os.environ["PATH"]} | environment
    ran = run("payment_contracts", arguments, env=env, cwd=None, timeout_s=120)
    said = ran.stdout + ran.stderr
    assert "Traceback" not in said
    assert TOKEN not in said
    return ran.returncode, said


def run_as_people_do(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run the program as a Python of its own, which starts anew."""
    ran = subprocess.run(
        [sys.executable, "-m", "payment_contracts", *arguments],
        env={"PATH": os.environ["PATH"]} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


@pytest.fixture
def end() -> Iterator[ExitStack]:
    """Collect what has to end with the test; there is no database here."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def pem(ca: trustme.CA, tmp_path: Path) -> Mapping[str, str]:
    """The files of a private CA: its own, a server's and a client's certificate and key."""
    server, client = ca.issue_cert("127.0.0.1"), ca.issue_cert("payment@restaurant.example")
    files = {name: str(tmp_path / f"{name}.pem") for name in ("ca", "server", "client", "key")}
    ca.cert_pem.write_to_path(files["ca"])
    server.private_key_and_cert_chain_pem.write_to_path(files["server"])
    client.cert_chain_pems[0].write_to_path(files["client"])
    client.private_key_pem.write_to_path(files["key"])
    return files


@pytest.fixture
def guarded(end: ExitStack, tmp_path: Path) -> Callable[..., str]:
    """A function that starts a service that is not open; it returns its URL."""

    def start(kind: str, *path: str, **environment: str) -> str:
        process = Process((GUARDED, (kind, str(tmp_path / f"{kind}.db"), *path)), environment)
        end.callback(process.kill)
        said = re.search(r"http\S+", process.line_with("Running on"))
        assert said
        return said[0] + environment.get("BASE", "")

    return start


def test_services_behind_tls_a_token_and_a_base_path_are_verified(
    guarded: Callable[..., str], pem: Mapping[str, str]
) -> None:
    """Their states too are set up with the token: nothing else could create an order there."""
    behind = {"SERVER_PEM": pem["server"], "TOKEN": TOKEN, "BASE": "/kasir/v1"}
    order, user = guarded("order", **behind), guarded("user", **behind)
    code, said = run_verify(
        "--order-url",
        order,
        "--user-url",
        user + "/",
        ORDER_SERVICE_TOKEN=TOKEN,
        USER_SERVICE_TOKEN=TOKEN,
        ORDER_SERVICE_CA_FILE=pem["ca"],
        SSL_CERT_FILE=pem["ca"],  # User's, that has none of its own
    )
    assert code == HOLDS, said
    assert said.count("7 of 7 interactions hold") == 2


def test_the_stubs_keep_the_contracts_while_they_demand_tokens(end: ExitStack) -> None:
    """Without one, or with another, the run says which setting is wrong, and nothing of the contract."""
    order, user = (Stub(name, TOKEN=f"{TOKEN}-{name}") for name in ("order", "user"))
    end.callback(order.kill)
    end.callback(user.kill)
    both = ("--order-url", order.url, "--order-id", "7", "--user-url", user.url, "--user-id", "9")

    code, said = run_verify(*both, ORDER_SERVICE_TOKEN=f"{TOKEN}-order", USER_SERVICE_TOKEN=f"{TOKEN}-user")
    assert code == HOLDS, said
    assert said.count("7 of 7 interactions hold") == 2

    code, said = run_verify(*both, USER_SERVICE_TOKEN=f"{TOKEN}-order")
    assert code == INVALID, said
    assert "401 to GET /orders/7: the token is missing; set ORDER_SERVICE_TOKEN" in said
    assert "401 to GET /users/9: the token is wrong or may not do this; see USER_SERVICE_TOKEN" in said
    assert "BROKEN" not in said


def test_a_known_drift_is_named_behind_a_token_too(guarded: Callable[..., str]) -> None:
    url = guarded("user", "/users/<int:user_id>/payment-status", TOKEN=TOKEN)
    code, said = run_verify("--user-url", url, USER_SERVICE_TOKEN=TOKEN)
    assert code == BROKEN
    assert "serves PUT /users/{user_id}/payment-status, not PUT /users/{user_id}/payment-service" in said


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("", "401 to POST /orders: the token is missing; set ORDER_SERVICE_TOKEN"),
        ("wrong", "401 to POST /orders: the token is wrong or may not do this; see ORDER_SERVICE_TOKEN"),
        ("reader", "403 to POST /orders: the token is wrong or may not do this; see ORDER_SERVICE_TOKEN"),
    ],
)
def test_a_token_that_will_not_do_is_an_invalid_run(
    guarded: Callable[..., str], token: str, words: str
) -> None:
    url = guarded("order", TOKEN=TOKEN, READ_TOKEN="reader")
    code, said = run_verify("--order-url", url, ORDER_SERVICE_TOKEN=token)
    assert code == INVALID, said
    assert f"invalid run: {url} answered {words}" in said
    assert "BROKEN" not in said


def test_a_token_that_may_only_read_is_an_invalid_run_with_an_id_that_exists(
    guarded: Callable[..., str],
) -> None:
    """The refusal comes as late as with the first PUT that is replayed."""
    url = guarded("user", TOKEN=TOKEN, READ_TOKEN="reader")
    assert run_verify("--user-url", url, USER_SERVICE_TOKEN=TOKEN)[0] == HOLDS  # makes user 816
    code, said = run_verify("--user-url", url, "--user-id", "816", USER_SERVICE_TOKEN="reader")
    assert code == INVALID, said
    assert f"invalid run: {url} answered 403 to PUT /users/{{user_id}}/payment-service: the token is" in said
    assert "BROKEN" not in said


def test_a_ca_that_is_not_ours_is_an_invalid_run_that_names_the_setting(
    guarded: Callable[..., str], pem: Mapping[str, str], tmp_path: Path
) -> None:
    url = guarded("order", SERVER_PEM=pem["server"])
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    for environment in ({}, {"ORDER_SERVICE_CA_FILE": str(other), "SSL_CERT_FILE": pem["ca"]}):
        code, said = run_verify("--order-url", url, **environment)
        assert code == INVALID, said
        assert "invalid run" in said
        assert "its certificate does not verify" in said
        assert "ORDER_SERVICE_CA_FILE" in said


def test_a_service_that_asks_for_our_certificate_gets_it(
    guarded: Callable[..., str], pem: Mapping[str, str]
) -> None:
    url = guarded("order", SERVER_PEM=pem["server"], CLIENT_CA_PEM=pem["ca"])
    ours = {"ORDER_SERVICE_CLIENT_CERT_FILE": pem["client"], "ORDER_SERVICE_CLIENT_KEY_FILE": pem["key"]}
    code, said = run_verify("--order-url", url, ORDER_SERVICE_CA_FILE=pem["ca"], **ours)
    assert code == HOLDS, said
    assert run_verify("--order-url", url, ORDER_SERVICE_CA_FILE=pem["ca"])[0] == INVALID


def test_a_state_change_url_gets_the_token_if_it_is_the_services_own(guarded: Callable[..., str]) -> None:
    """Another host never does."""
    brought: list[str | None] = []
    contract = find_contract(ROOT / "contracts", "payment", "order")

    class Elsewhere(Handler):
        def do_POST(self) -> None:  # noqa: N802  # the standard library's name
            brought.append(self.headers["Authorization"])
            self.body()
            self.send_response(200)
            self.end_headers()

    service = Access(guarded("order", TOKEN=TOKEN), "order", TOKEN)
    with serve(Elsewhere) as url:
        verify(contract, service, url)
        assert brought == [None] * 7
        assert Access(f"{url}/base", "order", TOKEN).of(f"{url}/_pact/states").token == TOKEN


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        ([], {}, "nothing to verify: give --order-url or --user-url"),
        (["--order-url", "localhost:5003"], {}, "--order-url localhost:5003: is not an http(s) URL"),
        (["--order-url", "//localhost:5003"], {}, "is not an http(s) URL"),
        (["--order-url", "http://localhost:port"], {}, "is not an http(s) URL"),
        (["--order-url", "http://"], {}, "is not an http(s) URL"),
        (["--order-url", "http://[::1"], {}, "is not an http(s) URL"),
        (["--order-url", "http://a?b=c"], {}, "is not an http(s) URL"),
        (["--order-url", "http://a", "--order-state-url", "a/b"], {}, "--order-state-url a/b: is not an"),
        (["--order-url", "http://a", "--order-id", "abc"], {}, "--order-id abc: is not a whole number"),
        (["--order-url", "http://a", "--order-id", "0"], {}, "--order-id 0: is not a whole number"),
        (["--order-url", "http://a", "--order-id", "9" * 20], {}, "is not a whole number from 1 to"),
        (["--order-url", "http://a", "--order-id", "٣"], {}, "is not a whole number"),
        (["--order-url", "http://a", "--user-id", "x"], {}, "--user-id x: is not a whole number"),
        (
            ["--user-url", "http://a", "--user-path", "/users/{id}/payment-status"],
            {},
            "--user-path /users/{id}/payment-status: must start with / and hold {user_id} once",
        ),
        (["--user-url", "http://a", "--user-path", "users/{user_id}"], {}, "must start with /"),
        (["--user-url", "http://a", "--user-path", "/{user_id}/{user_id}"], {}, "{user_id} once"),
        (["--user-url", "http://a", "--user-path", "/{user_id}?a=b"], {}, "--user-path"),
        (["--order-url", "http://a", "--what"], {}, "--what"),
        (["--order-url"], {}, "--order-url"),
        (["--order-url", "http://a"], {"ORDER_SERVICE_TOKEN": "a b"}, "ORDER_SERVICE_TOKEN must be visible"),
        (["--order-url", "https://a"], {"ORDER_SERVICE_CA_FILE": "/no"}, "ORDER_SERVICE_CA_FILE=/no: holds"),
        (
            ["--order-url", "https://a"],
            {"SSL_CERT_FILE": __file__},
            "test_verifying.py: holds no certificate",
        ),
        (
            ["--order-url", "https://a"],
            {"ORDER_SERVICE_CLIENT_CERT_FILE": "/no"},
            "ORDER_SERVICE_CLIENT_CERT_FILE and ORDER_SERVICE_CLIENT_KEY_FILE: not a certificate",
        ),
    ],
)
def test_a_wrong_value_is_named_in_one_line(
    arguments: list[str], environment: dict[str, str], words: str
) -> None:
    code, said = run_verify(*arguments, **environment)
    assert code == INVALID
    assert said.startswith("invalid run: ")
    assert words in said
    assert said.count("\n") == 1, said


def test_an_id_that_does_not_exist_is_an_invalid_run(order: Stub) -> None:
    url, unknown = order.url, "1000001"
    code, said = run_verify("--order-url", url, "--order-id", unknown)
    assert code == INVALID
    assert f"invalid run: {url} knows no order {unknown} (404 to GET /orders/{unknown})" in said
    assert "BROKEN" not in said
    assert order.states() == {}


def test_an_id_that_only_the_put_knows_exists_and_the_missing_route_is_broken(order: Stub) -> None:
    class WithoutGet(Handler):
        def do_PUT(self) -> None:  # noqa: N802  # the standard library's name
            http = HTTPConnection("127.0.0.1", int(order.url.rpartition(":")[2]))
            http.request("PUT", self.path, self.body(), {"Content-Type": "application/json"})
            answer = http.getresponse()
            body = answer.read()
            http.close()
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:  # noqa: N802  # as above
            self.send_error(404)

    with serve(WithoutGet) as url:
        code, said = run_verify("--order-url", url, "--order-id", "7")
    assert code == BROKEN, said
    assert "5 of 7 interactions hold" in said


def test_no_proxy_is_asked_for_what_is_on_this_machine(order: Stub) -> None:
    nobody = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:1")
    code, said = run_verify("--order-url", order.url, "--order-id", "7", **nobody)
    assert code == HOLDS, said


@pytest.mark.parametrize(
    "host", ["127.0.0.2", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "localhost.", "order.localhost"]
)
def test_however_this_machine_is_written_it_has_no_proxy(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert Access(f"http://{host}:5003").proxies == {}
    assert Access("http://order.example").proxies != {}


def test_another_host_is_asked_through_the_proxy(order: Stub) -> None:
    """The stub stands for the proxy: a request for another host reaches it, as one does a proxy."""
    far = ("--order-url", "http://order.example", "--order-id", "7")
    code, said = run_verify(*far, http_proxy=order.url)
    assert code == HOLDS, said
    code, said = run_verify(*far, http_proxy="http://127.0.0.1:1")
    assert code == INVALID
    assert "cannot be reached by the proxy of the environment" in said


def test_what_the_terminal_cannot_show_changes_no_verdict(order: Stub) -> None:
    code, said = run_as_people_do(
        *("--order-url", order.url, "--order-id", "7", "--order-path", "/pésanan/{order_id}"),
        PYTHONIOENCODING="ascii",
    )
    assert code == BROKEN, said
    assert "PUT /p\\xe9sanan/{order_id}" in said


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_as_payment_does_not(order: Stub, status: int) -> None:
    class Moved(Handler):
        def do_GET(self) -> None:  # noqa: N802  # the standard library's name
            self.body()
            self.send_response(status)
            self.send_header("Location", order.url + self.path)
            self.end_headers()

        do_PUT = do_GET  # noqa: N815  # as above

    with serve(Moved) as url:
        code, said = run_verify("--order-url", url, "--order-id", "7")
    assert code == BROKEN, said
    assert f"expected status 200–299, came status {status}" in said


def test_a_service_that_breaks_off_is_an_invalid_run(order: Stub) -> None:
    order.fault(drop="before")
    code, said = run_verify("--order-url", order.url, "--order-id", "7")
    assert code == INVALID, said
    assert "PUT /orders/7/payment got no answer" in said


def test_a_fault_of_the_program_itself_is_an_invalid_run(tmp_path: Path) -> None:
    """Python ends with 1 for a crash, which would say that the contract is broken."""
    (tmp_path / "pact.py").write_text("raise ImportError('the native part is of another machine')")
    code, said = run_as_people_do("--order-url", "http://localhost", PYTHONPATH=str(tmp_path))
    assert code == INVALID
    assert "invalid run: this program itself failed" in said
