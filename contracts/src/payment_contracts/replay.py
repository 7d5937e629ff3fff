"""Any contract, replayed against a running provider by Pact's verifier."""

import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pact import Verifier

from payment_contracts.access import TIMEOUT_S, Access
from payment_contracts.relay import relay
from payment_contracts.route_words import means_no_route
from payment_contracts.states import States, serve_states, states_at
from payment_contracts.verdict import InvalidRunError, Result

os.environ.setdefault("PACT_DO_NOT_TRACK", "true")  # nobody else need know of a run


SHOWN_MAX_CHARS = 200


def find_contract(folder: Path, consumer: str, provider: str) -> dict[str, Any]:
    """Return the contract between two services, chosen by what is in it, not by its file's name.

    Raises:
        InvalidRunError: there is none, or it has no interactions: every provider would pass.
    """
    for file in sorted(folder.glob("*-*.json")):
        try:
            contract: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InvalidRunError(f"{file.name} is not JSON: {error}") from None
        names = (contract.get("consumer", {}).get("name"), contract.get("provider", {}).get("name"))
        if names == (consumer, provider):
            if not contract.get("interactions"):
                raise InvalidRunError(f"{file.name} has no interactions: there is nothing to verify")
            return contract
    raise InvalidRunError(f"no contract of {consumer} with {provider} in {folder}")


def verify(contract: Mapping[str, Any], url: str | Access, states: States | str) -> list[Result]:
    """Replay a contract's interactions against a running provider.

    Args:
        contract: the parsed contract.
        url: the provider's base URL, or how it is reached.
        states: sets up a provider state, or the URL of the provider's own state-change endpoint.

    Returns:
        A result for each interaction, in the contract's order.

    Raises:
        InvalidRunError: it cannot be reached, or a state cannot be set up.
    """
    access = Access(url.rstrip("/")) if isinstance(url, str) else url
    with access.send("GET", ""):
        pass  # that it answers is enough
    set_up = states_at(access.of(states)) if isinstance(states, str) else states
    failed: list[str] = []
    bodies: list[bytes] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        source = folder / "contract.json"
        source.write_text(json.dumps(contract), encoding="utf-8")
        verifier = (
            Verifier(contract["provider"]["name"], host="127.0.0.1")
            .add_transport(url=stack.enter_context(relay(access, failed, bodies)))
            .add_source(source)
            .state_handler(stack.enter_context(serve_states(set_up, failed)), teardown=False, body=True)
            .set_request_timeout(round(TIMEOUT_S * 2 * 1000))  # the relay's own ends first, and says why
            .follow_redirects(follow=False)  # as Payment's client
            .set_coloured_output(enabled=False)
        )
        stack.enter_context(_direct())
        stack.enter_context(silence())
        with contextlib.suppress(RuntimeError):  # says only that something failed; `results` says what
            verifier.verify()
        replayed = verifier.results["interactionResults"]
    if failed:
        raise InvalidRunError(failed[0])
    if not len(replayed) == len(bodies) == len(contract["interactions"]):
        raise InvalidRunError(
            f"{len(replayed)} of {len(contract['interactions'])} interactions were replayed"
        )
    requests_of = {item["description"]: _request_line(item["request"]) for item in contract["interactions"]}
    expects_404 = {
        item["description"]
        for item in contract["interactions"]
        if item["response"]["status"] == HTTPStatus.NOT_FOUND
    }
    results = []
    for item, body in zip(replayed, bodies, strict=True):
        name = item["description"]
        faults = _faults(item) or (_faults_of_route(body) if name in expects_404 else [])
        results.append(Result(name, requests_of[name], faults))
    return results


def _request_line(request: Mapping[str, Any]) -> str:
    """Return the method and the path, the ids' names in place of the ids that the provider gave."""
    template = request.get("generators", {}).get("path", {}).get("expression", request["path"])
    return f"{request['method']} {template.replace('${', '{')}"


def _faults(item: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    if item["result"] == "OK":
        return []
    mismatch = item.get("mismatch", {})
    found = mismatch.get("mismatches", [])
    if not found:
        raise InvalidRunError(f"{item['description']}: {mismatch.get('message', mismatch)}")
    return [_fault(one) for one in found]


def _faults_of_route(body: bytes) -> list[tuple[str, str, str]]:
    """Say what no matcher can: that a 404 is a framework's for a missing route."""
    try:
        said = json.loads(body)
    except ValueError:
        return []  # of another kind, which the contract allows
    if not (isinstance(said, dict) and means_no_route(said)):
        return []
    came = " ".join(body.decode(errors="replace").split())[:SHOWN_MAX_CHARS]
    return [("a sentence of its own", f"what frameworks say of a missing route: {came}", "body")]


def _fault(one: Mapping[str, Any]) -> tuple[str, str, str]:
    kind, said = one.get("type", ""), one.get("mismatch", "")
    if kind == "StatusMismatch":
        a_range = re.search(r"\((\d+\D\d+)\)$", said)  # of a contract that takes any status of a kind
        return (f"status {a_range[1] if a_range else one['expected']}", f"status {one['actual']}", "status")
    if kind == "HeaderMismatch":
        return (f"{one['key']}: {one['expected']}", f"{one['key']}: {one['actual']}", "header")
    if kind == "BodyTypeMismatch":
        return (f"a body of {one['expected']}", f"a body of {one['actual']}", "body")
    path = str(one.get("path", "$")).removeprefix("$").removeprefix(".") or "the body"
    return (f"{path} like {one.get('expected')}", f"{one.get('actual')} ({said})", "body")


@contextlib.contextmanager
def _direct() -> Iterator[None]:
    """Have the verifier, which is native code, reach our own servers without the environment's proxy."""
    names = ("NO_PROXY", "no_proxy")
    kept = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "127.0.0.1"))
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


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
