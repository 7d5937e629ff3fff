"""Mutants of the clients: one small fault each, which a promise (`promises.py`) must notice.

`make mutants` prints the table; `test_mutants.py` fails for one that nothing notices.
"""

import sys
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from pact.error import PactError
from urllib3.exceptions import InsecureRequestWarning

from payment import telling
from promises import PROMISES, Clients

NOTICES = (AssertionError, PactError, AttributeError, KeyError, TypeError, ValueError)
ANSWERS = "neighbour_answers"
SOURCES = (ANSWERS, "downstream", "delivery")
"""The modules that a mutant may be made of, those that others import first."""


class Mutant(NamedTuple):
    """A module of `payment` in which `original` reads `changed`."""

    module: str
    original: str
    changed: str


MUTANTS = {
    "another method": Mutant(
        "downstream", '"PUT",\n                target_id', '"GET",\n                target_id'
    ),
    "another path": Mutant("downstream", "self._base_url + path,", 'self._base_url + path + "s",'),
    "another field": Mutant("downstream", "{self.status_field: status}", '{self.status_field + "x": status}'),
    "another type": Mutant("downstream", "{self.status_field: status}", "{self.status_field: [status]}"),
    "another value": Mutant(
        "downstream", "{self.status_field: status}", "{self.status_field: status.upper()}"
    ),
    "an extra field": Mutant(
        "downstream", "{self.status_field: status}", '{self.status_field: status, "amount": 1}'
    ),
    "no body": Mutant("downstream", "data=json.dumps({self.status_field: status}),", ""),
    "another content type": Mutant(
        "downstream", '"Content-Type": "application/json",', '"Content-Type": "text/plain",'
    ),
    "no Idempotency-Key": Mutant("downstream", '"Idempotency-Key": idempotency_key,', ""),
    "no traceparent": Mutant("downstream", '"traceparent": traceparent,', ""),
    "no Accept": Mutant("downstream", ', "Accept": "application/json"}', "}"),
    "no Authorization": Mutant("downstream", "if neighbour.token:", "if False:"),
    "no Bearer": Mutant("downstream", 'f"Bearer {neighbour.token}"', "neighbour.token"),
    "TLS is not verified": Mutant(  # `verify=False` alone is refused by the context that checks host names
        "downstream",
        "send(call, stream=True,",
        'send(call, stream=True, verify=bool(self._tls and setattr(self._tls, "check_hostname", False)),',
    ),
    "the host's name is not verified": Mutant(
        "downstream", "ssl_context=self._tls,", "ssl_context=self._tls, assert_hostname=False,"
    ),
    "our certificate is not shown": Mutant(
        "downstream", "    if neighbour.client_cert_file:", "    if False:"
    ),
    "reading another field": Mutant("downstream", 'read_field = "status"', 'read_field = "payment_status"'),
    "reading another path": Mutant(
        "downstream", 'read_path = "/orders/{order_id}"', 'read_path = "/order/{order_id}"'
    ),
    "a status read in other letters": Mutant(
        "downstream", "return Seen(status)", "return Seen(status.lower())"
    ),
    "any 404 shows the route": Mutant(
        "downstream", "if shows_route(status):", "if shows_route(status) or status == 404:"
    ),
    "no answer shows the route": Mutant("downstream", "if shows_route(status):", "if False:"),
    "one key for all news": Mutant("delivery", "notification-{claim.id}-", "notification-1-"),
    "one key for every state": Mutant("delivery", "-{claim.status}", "-paid"),
    "one key for two databases": Mutant("delivery", "-{claim.created_us}-", "-1-"),
    "a key for each attempt": Mutant("delivery", "-{claim.status}", "-{claim.status}-{claim.attempts}"),
    "201 is not delivered": Mutant(ANSWERS, "if 200 <= status < 300:", "if status == 200:"),
    "204 is not delivered": Mutant(
        ANSWERS, "if 200 <= status < 300:", "if status in (200, 201, 202, 203, 205):"
    ),
    "404 is delivered": Mutant(
        ANSWERS, "if 200 <= status < 300:", "if 200 <= status < 300 or status == 404:"
    ),
    "400 is delivered": Mutant(
        ANSWERS, "if 200 <= status < 300:", "if 200 <= status < 300 or status == 400:"
    ),
    "a redirect is delivered": Mutant(ANSWERS, "if 200 <= status < 300:", "if 200 <= status < 400:"),
    "404 is refused": Mutant(ANSWERS, "if status == HTTPStatus.NOT_FOUND:", "if status == 999:"),
    "a missing route is an unknown id": Mutant(
        ANSWERS,
        "Outcome.UNKNOWN if is_own_word and is_route_known",
        "Outcome.UNKNOWN if is_route_known",
    ),
    "an unknown id on a route that nobody knows": Mutant(
        ANSWERS,
        "Outcome.UNKNOWN if is_own_word and is_route_known",
        "Outcome.UNKNOWN if is_own_word",
    ),
    "a refused token is a refusal": Mutant(ANSWERS, "if status in DENIED:", "if False:"),
    "a demand for a token shows the route": Mutant(
        ANSWERS,
        "return outcome in (Outcome.DELIVERED,",
        "return outcome in (Outcome.DENIED, Outcome.DELIVERED,",
    ),
    "an outage shows the route": Mutant(
        ANSWERS,
        "return outcome in (Outcome.DELIVERED,",
        "return outcome in (Outcome.OUTAGE, Outcome.DELIVERED,",
    ),
    "a redirect shows the route": Mutant(ANSWERS, " and not is_redirect", ""),
    "any type is JSON": Mutant(ANSWERS, "if not _JSON.fullmatch(content_type.strip()):", "if False:"),
    "only application/json is JSON": Mutant(ANSWERS, "([^;\\s]+\\+)?json", "json"),
    "a list is an answer of its own": Mutant(
        ANSWERS,
        "return said if isinstance(said, dict) else None",
        "return said if isinstance(said, dict | list) else None",
    ),
}


def load(mutant: Mutant | None) -> Clients:
    """Return the clients as the mutant makes them; the production ones for None."""
    names = [f"payment.telling.{name}" for name in SOURCES]
    kept = {name: import_module(name) for name in names}
    try:
        for name, source in zip(names, SOURCES, strict=True):
            file = Path(telling.__file__).with_name(f"{source}.py")
            text = file.read_text()
            if mutant is not None and mutant.module == source:
                assert mutant.original in text, f"{source} has changed: {mutant.original}"
                text = text.replace(mutant.original, mutant.changed)
            module = ModuleType(name)
            sys.modules[name] = module
            exec(compile(text, str(file), "exec"), module.__dict__)
        made = {name: sys.modules[f"payment.telling.{name}"] for name in SOURCES}
    finally:
        sys.modules.update(kept)
    return Clients(made["downstream"].OrderClient, made["downstream"].UserClient, made["delivery"].send)


def noticed_by(mutant: Mutant | None) -> str | None:
    """Return the first promise that a mutant breaks, None if it keeps all."""
    clients = load(mutant)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", InsecureRequestWarning
        )  # in production it would keep nobody from anything
        for name, promise in PROMISES.items():
            try:
                promise(clients)
            except NOTICES:
                return name
    return None


if __name__ == "__main__":
    found = {name: noticed_by(mutant) for name, mutant in MUTANTS.items()}
    for name, promise in found.items():
        sys.stdout.write(f"{name:45} {promise or 'NOT NOTICED'}\n")
    sys.stdout.write(f"{len(MUTANTS) - list(found.values()).count(None)} of {len(MUTANTS)} noticed\n")
    sys.exit(None in found.values())
