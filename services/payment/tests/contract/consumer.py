"""The consumer contracts: every call that we make to Order and User, and what we rely on in the answer.

Each interaction drives the production client against Pact's mock server. The same list is tested one by one
(`test_consumer.py`) and written to files: `python consumer.py FOLDER` (`make contracts`).
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from pact import Pact, match

from payment.downstream import Heard, NeighbourClient, OrderClient, Seen, UserClient
from payment.lifecycle import Status
from payment.outbox import Outcome
from payment.settings import Neighbour

ID = 1
UNKNOWN_ID = 999_999_999
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
Expected = Callable[[Any], bool]


@dataclass(frozen=True)
class Interaction:
    """One call and its answer, as the contract states it.

    Attributes:
        description: says what we do, unique in the contract.
        state: what must be true of the provider before, as a sentence.
        parameters: the values of that sentence; a provider may put its own ids in their place.
        method: the HTTP method.
        path: with the parameters' names in braces.
        request: the JSON body that we send, None for none.
        status: the answer's status code.
        answer: what we rely on in the answer's JSON body.
        call: makes the call with the production client (or, for `restaurant`, over HTTP).
        expected: whether what the call returned is what it must return for this answer.
        query: what the path's query asks for.
    """

    description: str
    state: str
    parameters: Mapping[str, int | str]
    method: str
    path: str
    request: Mapping[str, Any] | None
    status: int
    answer: Mapping[str, Any]
    call: Callable[[str], Any]
    expected: Expected
    request_headers: Mapping[str, Any] = field(default_factory=dict)
    request_generators: Mapping[str, Any] = field(default_factory=dict)
    answer_headers: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)

    def declare(self, pact: Pact) -> None:
        """Add it to a contract."""
        path = self.path.format(**self.parameters)
        interaction = pact.upon_receiving(self.description).given(self.state, **self.parameters)
        interaction.with_request(self.method, path)
        for name, value in self.query.items():
            interaction.with_query_parameter(name, value)
        generators: dict[str, Any] = dict(self.request_generators)
        if "{" in self.path:
            generators["path"] = {
                "type": "ProviderState",
                "dataType": "STRING",
                "expression": self.path.replace("{", "${"),
            }
        if generators:
            interaction.with_generators(generators, "Request")
        for name, value in self.request_headers.items():
            interaction.with_header(name, value)
        if self.request is not None:
            interaction.with_body(dict(self.request), "application/json")
        interaction.will_respond_with(self.status)
        for name, value in self.answer_headers.items():
            interaction.with_header(name, value)
        interaction.with_body(dict(self.answer), "application/json")


ERROR = {"error": match.str("any words")}


def _client(kind: type[NeighbourClient], url: str) -> NeighbourClient:
    paths = {OrderClient: "/orders/{order_id}/payment", UserClient: "/users/{user_id}/payment-service"}
    neighbour = Neighbour(url=url, path=paths[kind], token=None)
    return kind(neighbour, connect_timeout_s=2, read_timeout_s=5)


def _tell(kind: type[NeighbourClient], target_id: int, status: str) -> Callable[[str], Heard]:
    def call(url: str) -> Heard:
        # an invalid status is one that no Status has, so the type says what production never does
        told: Any = status
        return _client(kind, url).tell(
            target_id, told, idempotency_key=f"notification-1-1-{status}", traceparent=TRACE
        )

    return call


def _read(kind: type[NeighbourClient], target_id: int) -> Callable[[str], Seen]:
    return lambda url: _client(kind, url).read(target_id)


def _heard(outcome: Outcome) -> Expected:
    return lambda heard: isinstance(heard, Heard) and heard.outcome is outcome


def neighbour_interactions(
    kind: type[NeighbourClient], path: str, answer: Callable[[Any], Mapping[str, Any]]
) -> list[Interaction]:
    """Return all that we call a neighbour for.

    Args:
        kind: the production client.
        path: of the PUT, with the id's name in braces.
        answer: the order or user that the neighbour answers with, given its status.
    """
    name, placeholder, status_field = kind.name, kind.placeholder, kind.status_field
    sent = {
        "Idempotency-Key": match.regex("notification-1-1-paid", regex="^[!-~]{1,255}$"),
        "traceparent": match.regex(TRACE, regex="^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"),
    }

    def put(
        description: str, state: str, target_id: int, status: str, code: int, outcome: Outcome
    ) -> Interaction:
        return Interaction(
            description=description,
            state=state,
            parameters={placeholder: target_id},
            method="PUT",
            path=path,
            request={status_field: status},
            status=code,
            answer=answer(status) if outcome is Outcome.DELIVERED else ERROR,
            call=_tell(kind, target_id, status),
            expected=_heard(outcome),
            request_headers=sent,
        )

    exists, missing, paid = f"{name} exists", f"{name} does not exist", f"{name} is paid"
    told = [
        put(f"tell that the {name} is {status.value}", exists, ID, status.value, 200, Outcome.DELIVERED)
        for status in (Status.PAID, Status.PENDING, Status.FAILED)
    ]
    return [
        *told,
        put(f"tell again that the {name} is paid", paid, ID, "paid", 200, Outcome.DELIVERED),
        put(f"tell of an unknown {name}", missing, UNKNOWN_ID, "paid", 404, Outcome.UNKNOWN),
        put(f"tell the {name} an invalid status", exists, ID, "lunas", 400, Outcome.REJECTED),
        Interaction(
            description=f"read the {name}",
            state=paid,
            parameters={placeholder: ID},
            method="GET",
            path=kind.read_path,
            request=None,
            status=200,
            answer=answer("paid"),
            call=_read(kind, ID),
            expected=lambda seen: seen == Seen("paid"),
        ),
        Interaction(
            description=f"read an unknown {name}",
            state=missing,
            parameters={placeholder: UNKNOWN_ID},
            method="GET",
            path=kind.read_path,
            request=None,
            status=404,
            answer=ERROR,
            call=_read(kind, UNKNOWN_ID),
            expected=lambda seen: seen.status is None and seen.error.startswith(f"unknown {name}"),
        ),
    ]


def _restaurant(
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
) -> Callable[[str], Any]:
    """Call as a restaurant's back end does, with any HTTP client."""
    return lambda url: httpx.request(
        method, url + path, json=body, headers=headers, params=query, trust_env=False, verify=False
    )


def _status(code: int) -> Expected:
    return lambda answer: isinstance(answer, httpx.Response) and answer.status_code == code


def _from_state(name: str, data_type: str) -> Mapping[str, str]:
    """Have the verifier put the provider's own value of a state's parameter here."""
    return {"type": "ProviderState", "expression": f"${{{name}}}", "dataType": data_type}


def _pay(
    description: str,
    order_id: int,
    body: Mapping[str, Any],
    code: int,
    answer: Mapping[str, Any],
    *,
    state: str = "order has no payment",
    replayed: bool = False,
    **parameters: int | str,
) -> Interaction:
    generators: dict[str, Any] = {}
    if body.get("order_id") == order_id:
        generators["body"] = {"$.order_id": _from_state("order_id", "INTEGER")}
    headers = {}
    if "idempotency_key" in parameters:
        headers["Idempotency-Key"] = str(parameters["idempotency_key"])
        generators["header"] = {"Idempotency-Key": _from_state("idempotency_key", "STRING")}
    answer_headers: dict[str, Any] = {}
    if code == 201:
        answer_headers["Location"] = match.regex("/payments/1", regex=r"^/payments/\d+$")
    if replayed:
        answer_headers["Idempotency-Replayed"] = "true"
    return Interaction(
        description=description,
        state=state,
        parameters={"order_id": order_id, **parameters},
        method="POST",
        path="/payments",
        request=body,
        status=code,
        answer=answer,
        call=_restaurant("POST", "/payments", body, headers),
        expected=_status(code),
        request_headers=headers,
        request_generators=generators,
        answer_headers=answer_headers,
    )


def _ask(
    description: str,
    state: str,
    parameters: Mapping[str, int | str],
    request: tuple[str, str],
    code: int,
    answer: Mapping[str, Any],
    body: Mapping[str, Any] | None = None,
    *,
    query: Mapping[str, str] | None = None,
) -> Interaction:
    method, path = request
    return Interaction(
        description=description,
        state=state,
        parameters=parameters,
        method=method,
        path=path,
        request=body,
        status=code,
        answer=answer,
        call=_restaurant(method, path.format(**parameters), body, query=query),
        expected=_status(code),
        query=query or {},
    )


def _error(sample: str, regex: str) -> Mapping[str, Any]:
    return {"error": match.regex(sample, regex=f"^{regex}$")}


def _payment(status: object) -> Mapping[str, Any]:
    return {
        "id": match.int(1),
        "order_id": match.int(1),
        "user_id": match.int(1),
        "amount": match.int(20_000),
        "status": status,
    }


TAKINGS = {
    "payments": match.int(1),
    "gross": match.int(20_000),
    "refunds": match.int(5_000),
    "net": match.int(15_000),
}


def _closing(date: object) -> Mapping[str, Any]:
    return {
        "date": date,
        "time_zone": match.str("Asia/Jakarta"),
        "methods": [
            {"method": method, **TAKINGS} for method in ("cash", "card", "qris", "transfer", "ewallet")
        ],
        **TAKINGS,
    }


def restaurant_interactions() -> list[Interaction]:
    """Return what the restaurant system relies on from us, as documented to it."""
    required = {"error": "order_id, user_id, dan amount wajib diisi"}

    one, unknown = {"payment_id": 1}, {"payment_id": UNKNOWN_ID}
    read, settle = ("GET", "/payments/{payment_id}"), ("PATCH", "/payments/{payment_id}")
    give_back, bill = ("POST", "/payments/{payment_id}/refunds"), ("GET", "/bills/{order_id}")
    listed, closed = ("GET", "/payments"), ("GET", "/reports/daily")
    told = ("GET", "/payments/{payment_id}/notifications")
    any_payment = _payment(match.regex("paid", regex="^(paid|pending|failed|refunded)$"))
    in_part: Mapping[str, Any] = {"state": "order is paid in part", "order_total": 60_000, "paid": 20_000}
    with_key: Mapping[str, Any] = {
        "state": "order is paid with an Idempotency-Key",
        "idempotency_key": "8e03978e-40d5-43e8-bc93-6894a57f9324",
    }
    processed = {"message": "Pembayaran diproses", "payment_id": match.int(1)}
    sample = {"order_id": 1, "user_id": 1, "amount": 20_000}

    refusals = [
        _pay(
            f"pay without {name}",
            1,
            {key: value for key, value in sample.items() if key != name},
            400,
            required,
        )
        for name in sample
    ]
    first_page = _ask(
        "list the payments a page at a time",
        "two payments exist",
        {},
        listed,
        200,
        {"payments": [any_payment], "next_cursor": match.str("MS4xLjEuNGVlZDg0ZDgyY2U4")},
        query={"limit": "1"},
    )
    next_page = match.regex(
        '</payments?limit=1&cursor=MS4xLjEuNGVlZDg0ZDgyY2U4>; rel="next"',
        regex=r'^</payments\?limit=1&cursor=[^&>]+>; rel="next"$',
    )
    return [
        _pay("pay an order", 1, sample, 201, processed),
        _pay("pay an order later", 1, sample | {"method": "qris", "status": "pending"}, 201, processed),
        _pay("pay a share of an order", 1, sample | {"order_total": 60_000}, 201, processed),
        *refusals,
        _pay("pay with an amount that is null", 1, sample | {"amount": None}, 400, required),
        _pay(
            "pay with an amount of zero",
            1,
            sample | {"amount": 0},
            400,
            _error("amount harus bilangan bulat", "amount .+"),
        ),
        _pay(
            "pay an order that is paid",
            2,
            sample | {"order_id": 2},
            409,
            _error("Pesanan 2 sudah lunas", r"Pesanan \d+ sudah lunas"),
            state="order is paid",
        ),
        _pay(
            "pay more than is left of an order",
            3,
            sample | {"order_id": 3, "amount": 40_001, "order_total": 60_000},
            409,
            _error("Sisa tagihan pesanan 3 hanya 40000", r"Sisa tagihan pesanan \d+ hanya 40000"),
            **in_part,
        ),
        _pay(
            "pay a share of an order that has another total",
            3,
            sample | {"order_id": 3, "order_total": 70_000},
            409,
            _error(
                "Tagihan pesanan 3 adalah 60000, bukan 70000",
                r"Tagihan pesanan \d+ adalah 60000, bukan 70000",
            ),
            **in_part,
        ),
        _pay(
            "send a payment again with its Idempotency-Key",
            4,
            sample | {"order_id": 4},
            201,
            processed,
            replayed=True,
            **with_key,
        ),
        _pay(
            "send another payment with an Idempotency-Key that was used",
            4,
            sample | {"order_id": 4, "amount": 25_000},
            422,
            {"error": "Idempotency-Key ini sudah dipakai untuk permintaan lain"},
            **with_key,
        ),
        _ask("read a payment", "payment exists", one, read, 200, _payment("paid")),
        _ask(
            "read an unknown payment",
            "payment does not exist",
            unknown,
            read,
            404,
            {"error": "Pembayaran tidak ditemukan"},
        ),
        *(
            _ask(
                f"settle a payment as {status}",
                "payment is pending",
                one,
                settle,
                200,
                _payment(status),
                {"status": status},
            )
            for status in ("paid", "failed")
        ),
        _ask(
            "settle a payment that is settled otherwise",
            "payment exists",
            {"payment_id": 2},
            settle,
            409,
            _error("Pembayaran berstatus paid tidak dapat menjadi failed", "Pembayaran berstatus .+"),
            {"status": "failed"},
        ),
        _ask(
            "give a part of a payment back",
            "payment exists",
            one,
            give_back,
            201,
            {"id": match.int(1), "payment_id": match.int(1), "amount": 5_000},
            {"amount": 5_000},
        ),
        _ask(
            "give more back than was paid",
            "payment exists",
            one,
            give_back,
            409,
            _error("Yang masih dapat dikembalikan dari pembayaran 1 hanya 20000", ".+ hanya 20000"),
            {"amount": 20_001},
        ),
        _ask(
            "give a part back a second time",
            "payment is refunded in part",
            {"payment_id": 3, "refunded": 5_000},
            give_back,
            409,
            _error(
                "Yang sudah dikembalikan dari pembayaran 3 adalah 5000, bukan 0",
                r"Yang sudah dikembalikan dari pembayaran \d+ adalah 5000, bukan 0",
            ),
            {"amount": 5_000, "expected_refunded": 0},
        ),
        _ask(
            "read the bill of an order",
            "order is paid",
            {"order_id": 1},
            bill,
            200,
            {
                "order_id": match.int(1),
                "total": 20_000,
                "paid": 20_000,
                "pending": 0,
                "remaining": 0,
                "settled": True,
            },
        ),
        _ask(
            "read the bill of an order that nobody paid for",
            "order has no payment",
            {"order_id": 2},
            bill,
            404,
            _error("Pesanan 2 belum punya tagihan", r"Pesanan \d+ belum punya tagihan"),
        ),
        _ask(
            "list the payments",
            "payment exists",
            {},
            listed,
            200,
            {"payments": match.each_like(any_payment)},
        ),
        replace(first_page, answer_headers={"Link": next_page}),
        _ask(
            "read what Order and User were told of a payment",
            "payment exists",
            one,
            told,
            200,
            {
                "notifications": match.each_like(
                    {
                        "id": match.int(1),
                        "service": match.regex("order", regex="^(order|user)$"),
                        "target_id": match.int(1),
                        "payment_id": match.int(1),
                        "state": match.regex("waiting", regex="^(waiting|delivered|superseded|dead)$"),
                        "attempts": match.int(0),
                    }
                )
            },
        ),
        _ask(
            "read what Order and User were told of an unknown payment",
            "payment does not exist",
            unknown,
            told,
            404,
            {"error": "Pembayaran tidak ditemukan"},
        ),
        _ask(
            "close today",
            "payment exists",
            {},
            closed,
            200,
            _closing(match.regex("2026-01-31", regex=r"^\d{4}-\d\d-\d\d$")),
        ),
        _ask(
            "close a day",
            "payment exists",
            {},
            closed,
            200,
            _closing("2026-01-31"),
            query={"date": "2026-01-31"},
        ),
    ]


CONTRACTS: Mapping[tuple[str, str], Sequence[Interaction]] = {
    ("payment", "order"): neighbour_interactions(
        OrderClient,
        "/orders/{order_id}/payment",
        lambda status: {"id": match.int(ID), "status": status},
    ),
    ("payment", "user"): neighbour_interactions(
        UserClient,
        "/users/{user_id}/payment-service",
        lambda status: {"id": match.int(ID), "payment_status": status},
    ),
    ("restaurant", "payment"): restaurant_interactions(),
}


def new_pact(consumer: str, provider: str) -> Pact:
    """Return an empty contract."""
    return Pact(consumer, provider).with_specification("V4")


def write_contracts(folder: Path) -> list[Path]:
    """Exercise every interaction and write the contracts into an empty folder.

    Raises:
        ValueError: a contract is empty, or two of its interactions have one description and state.
        AssertionError: a client did not hear what it must hear.
    """
    if list(folder.iterdir()):
        raise ValueError(f"{folder} is not empty, and Pact merges into what is there")
    return [
        write_contract(folder, consumer, provider, interactions)
        for (consumer, provider), interactions in CONTRACTS.items()
    ]


def write_contract(folder: Path, consumer: str, provider: str, interactions: Sequence[Interaction]) -> Path:
    """Write one contract; see `write_contracts`."""
    check_sound(f"{consumer}-{provider}", interactions)
    pact = new_pact(consumer, provider)
    for interaction in interactions:
        interaction.declare(pact)
    with pact.serve(addr="127.0.0.1") as server:
        for interaction in interactions:
            returned = interaction.call(str(server.url))
            if not interaction.expected(returned):
                raise AssertionError(f"{interaction.description}: {returned}")
    pact.write_file(folder)
    return folder / f"{consumer}-{provider}.json"


def check_sound(name: str, interactions: Sequence[Interaction]) -> None:
    """Refuse what Pact would accept in silence: nothing to verify, and one interaction replacing another.

    Raises:
        ValueError: says which.
    """
    if not interactions:
        raise ValueError(f"{name}: the contract has no interactions, so every provider would pass")
    seen = Counter((interaction.description, interaction.state) for interaction in interactions)
    twice = [description for (description, _), times in seen.items() if times > 1]
    if twice:
        raise ValueError(f"{name}: two interactions are called {twice[0]!r} in one state")


if __name__ == "__main__":
    for written in write_contracts(Path(sys.argv[1])):
        interactions = json.loads(written.read_text())["interactions"]
        sys.stdout.write(f"{written.name}: {len(interactions)} interactions\n")
