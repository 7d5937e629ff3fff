"""Requests to the console that no browser would send: nothing breaks, and nothing changes without a token.

Nearly two thousand by each kind of database; with `--rounds 100` ten times as many. `--seed` repeats a run.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from random import Random, randrange
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, func, make_url, select

from console_attack import Answer, Attacker, Request, Wire
from console_visitor import SIGN_IN, Visitor
from key_holders import Caller, holder
from payment.core.states import Outcome, State, Status
from payment.storage.opening import open_database
from payment.storage.tables import bills, metadata, notifications, payments, refunds
from processes import Service

Found = TypeVar("Found")

WITHOUT_RIGHT, WITH_RIGHT = 40, 50
"""Requests of a round."""

PACK = 10
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
POLICY_OF_FILES = "default-src 'none'; frame-ancestors 'none'"
PLACE_MAX_CHARS = 10_000


def content_of(service: Service) -> Mapping[str, Any]:
    """Return all rows of all tables; not when keys were last used, which is noted of readers too."""

    def rows(connection: Connection) -> Mapping[str, Any]:
        return {
            table.name: sorted(
                connection.execute(select(*(c for c in table.c if c.name != "last_used_us"))).all(), key=repr
            )
            for table in metadata.sorted_tables
        }

    return asked_of(service, rows)


def asked_of(service: Service, question: Callable[[Connection], Found]) -> Found:
    database = open_database(make_url(service.environment["DATABASE_URL"]))
    with closing(database), database.read() as connection:
        return question(connection)


def fill(service: Service, caller: Caller) -> None:
    """Have payments of all sorts, a refund whose reason is hostile, and something dead of each neighbour."""
    for number, fields in enumerate(
        ({}, {"status": "pending"}, {"method": "qris"}, {"status": "pending"}), 1
    ):
        body = {"order_id": number, "user_id": number, "amount": 2**53 - 1 if number == 3 else 20_000}
        assert caller.post("/payments", json=body | fields).status_code == 201
    reason = {"amount": 1, "reason": "<script>fuzz</script>"}
    assert caller.post("/payments/1/refunds", json=reason).status_code == 201
    database = open_database(make_url(service.environment["DATABASE_URL"]))
    with closing(database), database.write() as connection:
        connection.execute(
            notifications.update()
            .where(notifications.c.payment_id == 1)
            .values(
                state=State.DEAD,
                settled_us=1,
                last_outcome=Outcome.REJECTED,
                last_error='"><img src=x onerror=fuzz>',
            )
        )


def sessions_of(service: Service, key: str) -> list[str]:
    """Return the cookies of two browsers of somebody who may do all."""
    cookies = []
    for _ in range(2):
        with Visitor(service.url) as visitor:
            if key:
                visitor.sign_in(key)
            else:
                visitor.open(SIGN_IN)
            cookies.append(visitor.http.cookies["payment_console"])
    return cookies


def check(request: Request, answer: Answer) -> None:
    """Hold an answer against what each must be."""
    said = f"{request} got {answer}"
    assert answer.status < 500, said
    assert len(answer.all_of("x-request-id")) == 1, said
    assert answer.all_of("x-content-type-options") == ["nosniff"], said
    policies = answer.all_of("content-security-policy")
    assert policies in ([POLICY], [POLICY_OF_FILES]), said
    for place in answer.all_of("location"):
        assert re.fullmatch(r"/console[/?\w.%=&+-]*", place), said
        assert len(place) < PLACE_MAX_CHARS, said
    for cookie in answer.all_of("set-cookie"):
        assert cookie.startswith(("payment_console=", "payment_language=")), said
        assert {"HttpOnly", "Path=/console"} <= set(cookie.split("; ")), said
    if answer.all_of("content-type") != ["application/json"]:
        assert b"<script>" not in answer.body, said
        assert b"<img src=x" not in answer.body, said


class Attack:
    """A service, who attacks it, and over which connection.

    Args:
        service: is filled if it is empty.
        owner: may do all.
        seed: of what is drawn; None for another one each time.
    """

    def __init__(self, service: Service, owner: Caller, seed: int | None) -> None:
        self.service = service
        self.seed = randrange(10**9) if seed is None else seed
        if not content_of(service)["payments"]:
            fill(service, owner)
        ids = [holder(service, "payments:read", client="tamu").id for _ in range(3)]
        self.attacker = Attacker(Random(self.seed), sessions_of(service, owner.key), ids)
        self._wire = Wire(int(service.url.rpartition(":")[2]))

    def run(self, number: int, draw: Callable[[], Request]) -> Mapping[int, int]:
        """Send so many requests; return how many answers of each status there were."""
        seen: dict[int, int] = {}
        for first in range(0, number, PACK):
            pack = [draw() for _ in range(min(PACK, number - first))]
            try:
                for request, answer in self._wire.exchange(pack):
                    check(request, answer)
                    seen[answer.status] = seen.get(answer.status, 0) + 1
            except (AssertionError, ConnectionError) as error:
                raise AssertionError(f"--seed {self.seed}") from error
        assert sum(seen.values()) == number
        return seen

    def close(self) -> None:
        """Hang up."""
        self._wire.close()


@pytest.fixture
def attack(shared: Service, request: pytest.FixtureRequest) -> Iterator[Attack]:
    """Return the attack on a service that asks nobody for a key."""
    with closing(Attack(shared, Caller(shared), request.config.getoption("--seed"))) as attack:
        yield attack


@pytest.fixture
def keyed_attack(shared_keyed: Service, request: pytest.FixtureRequest) -> Iterator[Attack]:
    """Return the attack on a service that one has to sign in to."""
    owner = holder(shared_keyed, "admin", client="pemilik")
    with closing(Attack(shared_keyed, owner, request.config.getoption("--seed"))) as attack:
        yield attack


def attack_without_right(attack: Attack, number: int) -> None:
    before = content_of(attack.service)
    seen = attack.run(number, attack.attacker.without_right)
    assert content_of(attack.service) == before, f"--seed {attack.seed}"
    assert {200, 400, 403, 404, 405} <= seen.keys(), seen


def attack_with_right(attack: Attack, number: int) -> None:
    before = content_of(attack.service)
    seen = attack.run(number, attack.attacker.with_right)
    assert content_of(attack.service) != before, "nothing had a right"
    assert {200, 303, 400} <= seen.keys(), seen
    assert not asked_of(attack.service, books_that_are_wrong), f"--seed {attack.seed}"


def test_a_request_without_its_token_breaks_and_changes_nothing(attack: Attack, rounds: range) -> None:
    attack_without_right(attack, len(rounds) * WITHOUT_RIGHT)


def test_a_form_with_its_token_breaks_nothing(attack: Attack, rounds: range) -> None:
    attack_with_right(attack, len(rounds) * WITH_RIGHT)


def test_who_has_not_signed_in_breaks_and_changes_nothing(keyed_attack: Attack, rounds: range) -> None:
    attack_without_right(keyed_attack, len(rounds) * WITHOUT_RIGHT)


def test_who_has_signed_in_breaks_nothing(keyed_attack: Attack, rounds: range) -> None:
    attack_with_right(keyed_attack, len(rounds) * WITH_RIGHT)


def books_that_are_wrong(connection: Connection) -> list[Any]:
    """Return the payments that their refunds do not add up to, and the bills that their payments do not."""
    payment, bill, refund = payments.c, bills.c, refunds.c
    refunded = select(func.coalesce(func.sum(refund.amount), 0)).where(refund.payment_id == payment.id)
    of_bill = select(func.coalesce(func.sum(payment.amount), 0)).where(payment.order_id == bill.order_id)
    wrong_payments = select(payment.id).where(
        (payment.amount_refunded != refunded.scalar_subquery()) | (payment.amount_refunded > payment.amount)
    )
    wrong_bills = select(bill.order_id).where(
        (bill.pending != of_bill.where(payment.status == Status.PENDING).scalar_subquery())
        | (bill.paid != of_bill.where(payment.status == Status.PAID).scalar_subquery())
    )
    return [*connection.execute(wrong_payments).scalars(), *connection.execute(wrong_bills).scalars()]
