"""What those who call us do not read is not pinned, and what they read is.

The mirror of `test_variants.py` for our own answers: each answer of a contract is changed in one place, and
its reader (`back_end.py`, `feed_reader.py`) and the verification must agree whether he is served with it.
"""

import copy
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from any_client import request_of
from consumer import CONTRACTS
from described import ROOT
from json_reading import UNSERVED
from payment_contracts.replay import find_contract, verify

VARIANT = "X-Variant"
AT_ONCE = 50
"""The verifier's time grows with the square of what it is given."""

SHARES = 3
"""So many interactions divide the changes that all have in common; from `--rounds 30` on each has all."""

ALWAYS = 2
"""The answer as it is, and with another status code: each interaction has these."""


@dataclass(frozen=True)
class Changed:
    """An answer of the contract, changed in one place."""

    interaction: str
    what: str
    status: int
    headers: Mapping[str, str]
    body: Any

    def __str__(self) -> str:
        return f"{self.interaction}: {self.what}"


def changes_of(interaction: Mapping[str, Any]) -> Iterator[Changed]:
    """Yield the answer as it is, and with each change."""
    answer, name = interaction["response"], interaction["description"]
    status, body = answer["status"], answer["body"]["content"]
    headers = {name: values[0] for name, values in answer["headers"].items()}
    yield Changed(name, "as it is", status, headers, body)
    yield Changed(name, "another status code", status + 5, headers, body)
    for header in headers:
        yield Changed(
            name, f"no {header}", status, {key: headers[key] for key in headers if key != header}, body
        )
    for type_ in ("application/problem+json", "application/json; charset=utf-8", "text/html"):
        yield Changed(name, f"as {type_}", status, {**headers, "Content-Type": type_}, body)
    for what, changed in bodies_like(body):
        yield Changed(name, what, status, headers, changed)


def bodies_like(body: Any, path: str = "$") -> Iterator[tuple[str, Any]]:
    """Yield a JSON value with each change of one of its members."""
    members = list(body.items()) if isinstance(body, dict) else list(enumerate(body))
    if isinstance(body, dict):
        yield f"{path} has more", {**body, "more": [1]}
        for name in body:
            yield f"{path}.{name} is gone", {key: body[key] for key in body if key != name}
    else:
        yield f"{path} has more", [*body, *(body[-1:] or [{}])]
        yield f"{path} is empty", []
    for name, value in members:
        for what, changed in values_like(value, f"{path}.{name}"):
            whole = copy.deepcopy(body)
            whole[name] = changed
            yield what, whole


def values_like(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield what could stand in a member's place."""
    yield f"{path} is null", None
    if isinstance(value, dict | list):
        yield from bodies_like(value, path)
        yield f"{path} is a word", "word"
    elif isinstance(value, bool):
        yield f"{path} is {not value}", not value
        yield f"{path} is a word", "true"
    elif isinstance(value, int):
        yield f"{path} is {value + 1}", value + 1
        yield f"{path} is a word", str(value)
        yield f"{path} has a fraction", value + 0.5
    else:
        yield f"{path} is other words", f"Lain: {value}"
        yield f"{path} is a number", 1
        yield f"{path} is a list", [value]


@contextmanager
def serve(answers: list[Changed]) -> Iterator[str]:
    """Serve the answers, each to the request that names it; give the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def handle_request(self) -> None:
            """Answer as was asked for."""
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = answers[int(self.headers.get(VARIANT, "0"))]
            body = json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = handle_request  # noqa: N815  # the standard library's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:  # else the thread looks at a closed socket for ever
            server.shutdown()
            thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("consumer", ["restaurant", "feed"])
def test_a_reader_and_the_verification_judge_every_changed_answer_alike(consumer: str, rounds: range) -> None:
    contract = find_contract(ROOT / "contracts", consumer, "payment")
    made = {each.description: each for each in CONTRACTS[consumer, "payment"]}
    by_answer = {json.dumps(each["response"]): each for each in contract["interactions"]}
    by_name = {each["description"]: each for each in by_answer.values()}
    shares = max(1, SHARES * 10 // len(rounds))
    answers = [
        changed
        for place, interaction in enumerate(by_name.values())
        for number, changed in enumerate(changes_of(interaction))
        if number < ALWAYS or number % shares == place % shares
    ]
    interactions = []
    for number, changed in enumerate(answers):
        one = copy.deepcopy(by_name[changed.interaction])
        one["description"] = str(number)
        one["request"].setdefault("headers", {})[VARIANT] = [str(number)]
        one["request"].pop("generators", None)
        interactions.append(one)
    with serve(answers) as url:
        results = [
            result
            for first in range(0, len(interactions), AT_ONCE)
            for result in verify(
                contract | {"interactions": interactions[first : first + AT_ONCE]}, url, lambda *_: {}
            )
        ]
        holds = {int(each.description): not each.faults for each in results}
        disagreements = []
        for number, changed in enumerate(answers):
            asked = made[changed.interaction]
            headers = {**asked.request_headers, VARIANT: str(number)}
            assert asked.reads
            try:
                asked.reads(request_of(replace(asked, request_headers=headers), url))
                is_served = True
            except UNSERVED:
                is_served = False
            if is_served != holds[number]:
                disagreements.append(f"{changed}: reader {is_served}, {results[number]}")
    assert disagreements == []
    assert len(answers) > 300 // shares
    assert {True, False} == set(holds.values())
