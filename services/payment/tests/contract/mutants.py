"""Mutants of the clients: one small fault each, which a promise (`promises.py`) must notice.

`make mutants` prints the table; `test_mutants.py` fails for one that nothing notices.
"""

import sys
import warnings
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from pact.error import PactError
from urllib3.exceptions import InsecureRequestWarning

from promises import PROMISES, Clients

NOTICES = (AssertionError, PactError, AttributeError, KeyError, TypeError, ValueError)
RECORDS = "payment.core.neighbours"
ANSWERS = "payment.telling.neighbour_answers"
CONNECTION = "payment.telling.connection"
CLIENT = "payment.telling.downstream"
DELIVERY = "payment.telling.delivery"
SOURCES = (RECORDS, ANSWERS, CONNECTION, CLIENT, DELIVERY)
"""The modules that a mutant may be made of, those that others import first."""


class Mutant(NamedTuple):
    """A module in which `original` reads `changed`."""

    module: str
    original: str
    changed: str


MUTANTS = {
    "another method": Mutant(
        CLIENT, '"PUT",\n                target_id', '"GET",\n                target_id'
    ),
    "another path": Mutant(CLIENT, ", str(target_id))", ', f"{target_id}s")'),
    "another field": Mutant(
        CLIENT, "{self.neighbour.put_field: status}", '{self.neighbour.put_field + "x": status}'
    ),
    "another type": Mutant(
        CLIENT, "{self.neighbour.put_field: status}", "{self.neighbour.put_field: [status]}"
    ),
    "another value": Mutant(
        CLIENT, "{self.neighbour.put_field: status}", "{self.neighbour.put_field: status.upper()}"
    ),
    "an extra field": Mutant(
        CLIENT, "{self.neighbour.put_field: status}", '{self.neighbour.put_field: status, "amount": 1}'
    ),
    "no body": Mutant(CLIENT, "data=json.dumps({self.neighbour.put_field: status}),", ""),
    "another content type": Mutant(
        CLIENT, '"Content-Type": "application/json",', '"Content-Type": "text/plain",'
    ),
    "no Idempotency-Key": Mutant(CLIENT, '"Idempotency-Key": idempotency_key,', ""),
    "no traceparent": Mutant(CLIENT, '"traceparent": traceparent,', ""),
    "no Accept": Mutant(CLIENT, ', "Accept": "application/json"}', "}"),
    "no Authorization": Mutant(CLIENT, "if settings.token:", "if False:"),
    "Authorization without a token": Mutant(CLIENT, "if settings.token:", "if True:"),
    "no Bearer": Mutant(CLIENT, 'f"Bearer {settings.token}"', "settings.token"),
    "TLS is not verified": Mutant(  # `verify=False` alone is refused by the context that checks host names
        CLIENT,
        "send(call, stream=True,",
        'send(call, stream=True, verify=bool(self._tls and setattr(self._tls, "check_hostname", False)),',
    ),
    "the host's name is not verified": Mutant(
        CONNECTION, "ssl_context=self._tls,", "ssl_context=self._tls, assert_hostname=False,"
    ),
    "our certificate is not shown": Mutant(CONNECTION, "    if neighbour.client_cert_file:", "    if False:"),
    "reading another field": Mutant(RECORDS, 'read_field="status"', 'read_field="payment_status"'),
    "reading another path": Mutant(
        RECORDS, 'read_path="/orders/{order_id}"', 'read_path="/order/{order_id}"'
    ),
    "a status read in other letters": Mutant(
        CLIENT, "RemoteState(_printable(status))", "RemoteState(status.lower())"
    ),
    "any 404 shows the route": Mutant(
        CLIENT, "if shows_route(status):", "if shows_route(status) or status == 404:"
    ),
    "no answer shows the route": Mutant(CLIENT, "if shows_route(status):", "if False:"),
    "one key for all news": Mutant(DELIVERY, "notification-{claim.id}-", "notification-1-"),
    "one key for every state": Mutant(DELIVERY, "-{claim.status}", "-paid"),
    "one key for two databases": Mutant(DELIVERY, "-{claim.created_us}-", "-1-"),
    "a key for each attempt": Mutant(DELIVERY, "-{claim.status}", "-{claim.status}-{claim.attempts}"),
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
    "a framework's 404 is the service's own word": Mutant(CLIENT, " and not means_no_route(said)", ""),
    "every 404 is a framework's": Mutant(CLIENT, "not means_no_route(said)", "False"),
    "a redirect shows the route": Mutant(
        ANSWERS, "return 300 <= status < 400 or status in OF_GATEWAYS", "return status in OF_GATEWAYS"
    ),
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
    kept = {name: import_module(name) for name in SOURCES}
    try:
        for name in SOURCES:
            file = kept[name].__file__
            assert file is not None
            text = Path(file).read_text()
            if mutant is not None and mutant.module == name:
                assert mutant.original in text, f"{name} has changed: {mutant.original}"
                text = text.replace(mutant.original, mutant.changed)
            module = ModuleType(name)
            sys.modules[name] = module
            exec(compile(text, file, "exec"), module.__dict__)
        made = {name: sys.modules[name] for name in SOURCES}
    finally:
        sys.modules.update(kept)
    order, user = (
        partial(made[CLIENT].NeighbourClient, each) for each in (made[RECORDS].ORDER, made[RECORDS].USER)
    )
    return Clients(order, user, made[DELIVERY].send)


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
