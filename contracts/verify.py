"""Does a running Order or User service keep the contract that Payment relies on?

    make verify-contracts ORDER_URL=http://… USER_URL=http://…

Exit codes: 0 all hold; 1 a contract is broken; 2 the run itself is invalid (nothing to verify, a service
that cannot be reached, a state that cannot be set up). docs/contracts.md explains every line it prints.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from pact import Verifier

os.environ.setdefault("PACT_DO_NOT_TRACK", "true")  # nobody else need know of a run

HERE = Path(__file__).resolve().parent
HOLDS, BROKEN, INVALID = 0, 1, 2
UNKNOWN_ID = 999_999_999
TIMEOUT_S = 10.0

States = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Sets up a provider state, given its sentence and its parameters; returns the provider's own values."""


class InvalidRunError(Exception):
    """The run says nothing about the contract; the message says why and what to do."""


class Result(NamedTuple):
    """What came of one interaction; `faults` is empty if the contract holds."""

    description: str
    request: str
    faults: list[tuple[str, str, str]]  # what was expected, what came, where


@dataclass(frozen=True)
class Provider:
    """A service that we rely on.

    Attributes:
        name: order or user.
        placeholder: the name of its id in paths.
        documented_path: of the PUT, as the contract has it.
        other_paths: that deployed versions are known to serve instead.
        status_field: the field of the PUT's body.
    """

    name: str
    placeholder: str
    documented_path: str
    other_paths: tuple[str, ...]
    status_field: str

    @property
    def setting(self) -> str:
        """Return the setting of Payment that names the path."""
        return f"{self.name.upper()}_PAYMENT_PATH"


ORDER = Provider(
    "order",
    "order_id",
    "/orders/{order_id}/payment",
    ("/orders/{order_id}/payment-status",),
    "payment_status",
)
USER = Provider(
    "user",
    "user_id",
    "/users/{user_id}/payment-service",
    ("/users/{user_id}/payment-status",),
    "status",
)


# --- verifying any contract ---------------------------------------------------------------------------


def find_contract(folder: Path, consumer: str, provider: str) -> dict[str, Any]:
    """Return the contract between two services, chosen by what is in it, not by its file's name.

    Raises:
        InvalidRunError: there is none, or it has no interactions: every provider would pass.
    """
    for file in sorted(folder.glob("*-*.json")):
        try:
            contract: dict[str, Any] = json.loads(file.read_text())
        except ValueError as error:
            raise InvalidRunError(f"{file.name} is not JSON: {error}") from None
        names = (contract.get("consumer", {}).get("name"), contract.get("provider", {}).get("name"))
        if names == (consumer, provider):
            if not contract.get("interactions"):
                raise InvalidRunError(f"{file.name} has no interactions: there is nothing to verify")
            return contract
    raise InvalidRunError(f"no contract of {consumer} with {provider} in {folder}; run: make contracts")


def verify(contract: Mapping[str, Any], url: str, states: States | str) -> list[Result]:
    """Replay a contract's interactions against a running provider.

    Args:
        contract: the parsed contract.
        url: the provider's base URL.
        states: sets up a provider state, or the URL of the provider's own state-change endpoint.

    Returns:
        A result for each interaction, in the contract's order.

    Raises:
        InvalidRunError: it cannot be reached, or a state cannot be set up.
    """
    check_reachable(url)
    refused: list[str] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        source = folder / "contract.json"
        source.write_text(json.dumps(contract))
        state_url = states if isinstance(states, str) else stack.enter_context(serve_states(states, refused))
        verifier = (
            Verifier(contract["provider"]["name"], host=urlsplit(url).hostname)
            .add_transport(url=url)
            .add_source(source)
            .state_handler(state_url, teardown=False, body=True)
            .set_request_timeout(round(TIMEOUT_S * 1000))
            .set_coloured_output(enabled=False)
        )
        stack.enter_context(silence())
        with contextlib.suppress(RuntimeError):  # says only that something failed; `results` says what
            verifier.verify()
        replayed = verifier.results["interactionResults"]
    if refused:
        raise InvalidRunError(refused[0])
    if len(replayed) != len(contract["interactions"]):
        raise InvalidRunError(
            f"{len(replayed)} of {len(contract['interactions'])} interactions were replayed"
        )
    requests_of = {item["description"]: _request_line(item["request"]) for item in contract["interactions"]}
    return [Result(item["description"], requests_of[item["description"]], _faults(item)) for item in replayed]


def _request_line(request: Mapping[str, Any]) -> str:
    """Return the method and the path, the ids' names in place of the ids that the provider gave."""
    template = request.get("generators", {}).get("path", {}).get("expression", request["path"])
    return f"{request['method']} {template.replace('${', '{')}"


def check_reachable(url: str) -> None:
    """Raise InvalidRunError unless something speaks HTTP at the URL."""
    try:
        requests.get(url, timeout=TIMEOUT_S, allow_redirects=False)
    except requests.RequestException as error:
        raise InvalidRunError(f"{url} cannot be reached ({type(error).__name__}). Is it running?") from None


def _faults(item: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    if item["result"] == "OK":
        return []
    mismatch = item.get("mismatch", {})
    found = mismatch.get("mismatches", [])
    if not found:
        raise InvalidRunError(f"{item['description']}: {mismatch.get('message', mismatch)}")
    return [_fault(one) for one in found]


def _fault(one: Mapping[str, Any]) -> tuple[str, str, str]:
    kind, said = one.get("type", ""), one.get("mismatch", "")
    if kind == "StatusMismatch":
        return (f"status {one['expected']}", f"status {one['actual']}", "status")
    if kind == "HeaderMismatch":
        return (f"{one['key']}: {one['expected']}", f"{one['key']}: {one['actual']}", "header")
    if kind == "BodyTypeMismatch":
        return (f"a body of {one['expected']}", f"a body of {one['actual']}", "body")
    path = str(one.get("path", "$")).removeprefix("$").removeprefix(".") or "the body"
    return (f"{path} like {one.get('expected')}", f"{one.get('actual')} ({said})", "body")


@contextlib.contextmanager
def serve_states(states: States, refused: list[str]) -> Iterator[str]:
    """Serve a state-change URL for the verifier; what cannot be set up is noted in `refused`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the standard library's name
            """Set up one state."""
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                answer, status = states(asked["state"], asked.get("params", {})), 200
            except (InvalidRunError, requests.RequestException) as error:
                refused.append(f"the state {asked['state']!r} cannot be set up: {error}")
                answer, status = {}, 422  # a 5xx would be tried for two minutes
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep Pact's own report off the terminal: it is written by native code, to the descriptors."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    with Path(os.devnull).open("w") as nowhere:
        for descriptor in kept:
            os.dup2(nowhere.fileno(), descriptor)
    try:
        yield
    finally:
        for descriptor, copy in kept.items():
            os.dup2(copy, descriptor)
            os.close(copy)


# --- Order and User -----------------------------------------------------------------------------------


def at_path(contract: Mapping[str, Any], provider: Provider, path: str) -> dict[str, Any]:
    """Return the contract with the PUT's path as Payment's setting has it."""
    changed: dict[str, Any] = json.loads(json.dumps(contract))
    for interaction in changed["interactions"]:
        request = interaction["request"]
        if request["method"] == "PUT":
            target_id = interaction["providerStates"][0]["params"][provider.placeholder]
            request["path"] = path.format(**{provider.placeholder: target_id})
            request["generators"]["path"]["expression"] = path.replace("{", "${")
    return changed


class PublicStates:
    """Sets states up through the provider's public API, or with an id that is known to exist.

    Args:
        provider: order or user.
        url: its base URL.
        path: of its PUT.
        known_id: an id that exists and may be changed; None to create one.
        user_id: for whom an order is created.
    """

    def __init__(
        self, provider: Provider, url: str, path: str, known_id: int | None, user_id: int = 1
    ) -> None:
        self._provider = provider
        self._url = url
        self._path = path
        self._known_id = known_id
        self._user_id = user_id

    def __call__(self, state: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """Set up a state; see `States`."""
        del parameters  # the ids are ours to say
        name, placeholder = self._provider.name, self._provider.placeholder
        if state == f"{name} does not exist":
            return {placeholder: UNKNOWN_ID}
        if state == f"{name} exists":
            return {placeholder: self.existing_id()}
        if state == f"{name} is paid":
            target_id = self.existing_id()
            self.tell_paid(target_id, self._path)  # if it fails, the interaction itself will show it
            return {placeholder: target_id}
        raise InvalidRunError(
            f"this program does not know it; set {name.upper()}_STATE_URL to the provider's own"
        )

    def existing_id(self) -> int:
        """Return the id of an order or user that exists."""
        if self._known_id is None:
            self._known_id = self._create()
        return self._known_id

    def tell_paid(self, target_id: int, path: str) -> requests.Response:
        """Make the PUT that Payment makes."""
        url = self._url + path.format(**{self._provider.placeholder: target_id})
        body = {self._provider.status_field: "paid"}
        return requests.put(url, json=body, timeout=TIMEOUT_S, allow_redirects=False)

    def _create(self) -> int:
        name = self._provider.name
        new: Mapping[str, Any] = {"name": "Uji Kontrak", "phone": "081200000000"}
        if self._provider is ORDER:
            new = {"user_id": self._user_id, "menu_ids": [1]}
        answer = requests.post(f"{self._url}/{name}s", json=new, timeout=TIMEOUT_S)
        try:
            return int(answer.json()["id"])
        except (ValueError, KeyError, TypeError):
            raise InvalidRunError(
                f"POST /{name}s answered {answer.status_code} without an id; name one that exists and may be "
                f"changed: {name.upper()}_ID=…, or a state-change URL: {name.upper()}_STATE_URL=…"
            ) from None


def verify_provider(arguments: argparse.Namespace, provider: Provider) -> int:
    """Verify Order or User, print what was found, return the exit code."""
    name = provider.name
    url = getattr(arguments, f"{name}_url").rstrip("/")
    path = getattr(arguments, f"{name}_path") or provider.documented_path
    print(f"\n{name.capitalize()} at {url}, PUT {path}")
    try:
        known_id = getattr(arguments, f"{name}_id")
        states = PublicStates(provider, url, path, known_id, user_id=_user_for_orders(arguments))
        state_url = getattr(arguments, f"{name}_state_url")
        contract = at_path(find_contract(arguments.contracts, "payment", name), provider, path)
        results = verify(contract, url, state_url or states)
        advice = _drift(provider, url, path, states, results, state_url)
    except (InvalidRunError, requests.RequestException) as error:
        print(f"  INVALID  {error}")
        return INVALID
    for result in results:
        print_result(result)
    broken = sum(bool(result.faults) for result in results)
    print(f"  {len(results) - broken} of {len(results)} interactions hold")
    if broken:
        general = f"answer as openapi/{name}.yaml says, or agree with Payment's team on a new contract"
        print(f"  what to do: {advice or general}")
    return BROKEN if broken else HOLDS


def print_result(result: Result) -> None:
    """Print a line for an interaction; if it is broken, what was expected and what came."""
    print(f"  {'BROKEN' if result.faults else 'holds':8} {result.description}")
    if result.faults:
        print(f"           {result.request}")
    for expected, came, _ in sorted(result.faults, key=lambda fault: fault[2] != "status"):
        print(f"             expected {expected}, came {came}")


def _user_for_orders(arguments: argparse.Namespace) -> int:
    """Return the user for whom an order is created: one given, one made, else 1."""
    if arguments.user_id is not None:
        return int(arguments.user_id)
    needs_order = arguments.order_url and arguments.order_id is None and not arguments.order_state_url
    if needs_order and arguments.user_url:
        with contextlib.suppress(InvalidRunError, requests.RequestException):
            states = PublicStates(USER, arguments.user_url.rstrip("/"), USER.documented_path, None)
            return states.existing_id()
    return 1


def _drift(  # all that is known of the run
    provider: Provider,
    url: str,
    path: str,
    states: PublicStates,
    results: Sequence[Result],
    state_url: str | None,
) -> str | None:
    """Say plainly if the provider serves another path than the one verified, and which setting fits."""
    has_404 = any(fault[1] == "status 404" for result in results for fault in result.faults)
    if state_url or not has_404:
        return None
    for other in (provider.documented_path, *provider.other_paths):
        if other != path and states.tell_paid(states.existing_id(), other).ok:
            return (
                f"{url} serves PUT {other}, not PUT {path}. Either it serves {path}, "
                f"or Payment runs with {provider.setting}={other} (verify with the same setting)"
            )
    return None


def main(argv: Sequence[str]) -> int:
    """Verify what was named; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--contracts", type=Path, default=HERE, help="the folder of the contracts")
    for provider in (ORDER, USER):
        name = provider.name
        parser.add_argument(f"--{name}-url", default="", help=f"the running {name} service; may be left out")
        parser.add_argument(f"--{name}-id", type=_id, help=f"an existing {name} that may be changed")
        parser.add_argument(f"--{name}-state-url", default="", help="the provider's state-change URL")
        parser.add_argument(f"--{name}-path", default="", help=f"{provider.setting}, if not the documented")
    arguments = parser.parse_args(argv)
    codes = [
        verify_provider(arguments, provider)
        for provider in (ORDER, USER)
        if getattr(arguments, f"{provider.name}_url")
    ]
    if not codes:
        print("Nothing to verify: give ORDER_URL=… or USER_URL=… or both", file=sys.stderr)
        return INVALID
    # a broken contract is certain, whatever else could not be seen
    return BROKEN if BROKEN in codes else max(codes)


def _id(text: str) -> int | None:
    return int(text) if text else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
