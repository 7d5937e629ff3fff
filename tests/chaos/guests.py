"""The guests of the chaos: they pay, share bills, settle, take money back, and note what they were told."""

import random
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx

from processes import Service, http_client

GUESTS = 6
GUEST_PAUSE_S = 0.2
GUEST_HANDS = 8
"""How many requests of a guest are on their way at once."""

WALK_IN = 999_999
"""The user id that half of the guests share."""

SHARED = 1 / 3
"""How many of the orders are bills of several parts."""

PARTS = 6
"""How many parts are offered for a shared bill; each is a fifth of it or more, so they never all fit."""

EARLIER_ORDERS = 5
"""How far back a guest changes what was paid."""

ANSWER_WITHIN_S = 15.0
"""No request may keep a guest waiting longer, whatever is dead; a lost connection is an end too."""


class Click(NamedTuple):
    """A request as it is sent until it is answered; two with one key are a button pressed twice."""

    method: str
    path: str
    body: dict[str, Any]
    key: str | None


@dataclass
class Booked:
    """A payment that was acknowledged, and what the newest answer said of it; amounts in whole rupiah."""

    offer: Click
    status: str
    refunded: int = 0

    @property
    def order_id(self) -> int:
        """Return what it is for."""
        order_id: int = self.offer.body["order_id"]
        return order_id

    @property
    def amount(self) -> int:
        """Return what was paid."""
        amount: int = self.offer.body["amount"]
        return amount

    @property
    def stands(self) -> bool:
        """Say whether it counts towards its bill."""
        return self.status in ("paid", "pending")


@dataclass
class Ledger:
    """What a guest knows, from outside: to be compared with what the database knows."""

    payments: dict[int, Booked] = field(default_factory=dict)
    """What a 201 named, by its id."""
    ids: dict[str | None, int] = field(default_factory=dict)
    """The payment that each key made."""
    refunds: dict[int, tuple[int, int]] = field(default_factory=dict)
    """The payment and the amount of each refund that a 201 named, by its id."""
    settled: int = 0
    late: set[int] = field(default_factory=set)
    """Payments that failed before their money came, which the bill had no room for."""
    answers: list[tuple[str, float]] = field(default_factory=list)
    """What came back, and after how many seconds."""
    wrong: list[str] = field(default_factory=list)
    """Answers that must not be."""

    def of_order(self, order_id: int) -> dict[int, Booked]:
        """Return the payments of an order by their ids."""
        return {id_: booked for id_, booked in self.payments.items() if booked.order_id == order_id}

    def left(self, body: dict[str, Any]) -> int:
        """Return what may still be paid of the order of a payment's body."""
        of_order = self.of_order(body["order_id"]).values()
        return total_of(body) - sum(booked.amount for booked in of_order if booked.stands)


def total_of(body: dict[str, Any]) -> int:
    """Return what the order of a payment costs."""
    total: int = body.get("order_total", body["amount"])
    return total


def offers_of(order_id: int, user_id: int, dice: random.Random) -> list[Click]:
    """Return the payments of an order: one that is all of it, or more parts than fit; some settled later."""
    total = 1_000 * (order_id % 90 + 10)
    order: dict[str, Any] = {"order_id": order_id, "user_id": user_id}
    parts: list[dict[str, Any]] = [{"amount": total}]
    if dice.random() < SHARED:
        parts = [{"amount": total // dice.randint(2, 5), "order_total": total} for _ in range(PARTS)]
    bodies = [order | part | {"status": dice.choice(("paid", "paid", "pending"))} for part in parts]
    return [Click("POST", "/payments", body, f"order-{order_id}-{n}") for n, body in enumerate(bodies)]


def changes_of(payment_id: int, booked: Booked, dice: random.Random) -> list[Click]:
    """Settle a payment that waits, give back one that is paid: once, twice with one key, or beside a rival.

    A rival is another key that wants a payment to fail that is being paid, or the same money back. If it
    fails first, it is paid after all, unless a new payment has taken its room: then its money came late.
    """
    path = f"/payments/{payment_id}"
    if booked.status == "pending":
        rivals = [
            Click("PATCH", path, {"status": status}, f"{status}-{payment_id}")
            for status in ("paid", "failed")
        ]
    else:
        part = None if dice.random() < 0.5 else (booked.amount - booked.refunded) // 3
        body = {"amount": part, "expected_refunded": booked.refunded} if part else {}
        rivals = [
            Click("POST", f"{path}/refunds", body, f"{till}-{payment_id}-{booked.refunded}") for till in "ab"
        ]
    dice.shuffle(rivals)
    return dice.choice((rivals[:1], rivals[:1] * 2, rivals))


class Agent(threading.Thread):
    """Does something over and over until it is told to finish."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._done = threading.Event()

    def finish(self) -> None:
        """Begin nothing new; what is in hand comes to its end."""
        self._done.set()


class Guest(Agent):
    """A restaurant's back end: has order after order paid, each request repeated until it is answered.

    Each order has dice of its own, so that its decisions do not depend on what others met.
    """

    def __init__(self, number: int, seed: int, apis: Sequence[Service]) -> None:
        super().__init__(f"guest-{number}")
        self._seed = seed
        self._apis = apis
        self._orders = iter(range(number, WALK_IN, GUESTS))
        self._is_walk_in = number % 2 == 0
        self._http = http_client(timeout_s=ANSWER_WITHIN_S)
        self._hands = ThreadPoolExecutor(GUEST_HANDS)
        self.ledger = Ledger()

    def run(self) -> None:
        """Pay until it is enough."""
        with self._http, self._hands:
            while not self._done.is_set():
                order_id = next(self._orders)
                dice = random.Random(f"{self._seed}-order-{order_id}")
                self._pay(order_id, dice)
                if dice.random() < 0.5:
                    self._change(order_id - GUESTS * dice.randrange(EARLIER_ORDERS), dice)
                self._done.wait(dice.uniform(0, GUEST_PAUSE_S))

    def _pay(self, order_id: int, dice: random.Random) -> None:
        """Have an order paid: all parts at once, then perhaps the rest, or all of it a second time."""
        offers = offers_of(order_id, WALK_IN if self._is_walk_in else order_id, dice)
        body = offers[0].body
        self._offer(offers * dice.choice((1, 1, 1, 2)), dice)
        if dice.random() < 0.2:
            self._offer([Click("POST", "/payments", body | {"amount": total_of(body)}, key=None)], dice)
        if dice.random() < 0.5 and (left := self.ledger.left(body)) > 0:
            rest = body | {"amount": left, "order_total": total_of(body)}
            self._offer([Click("POST", "/payments", rest, f"order-{order_id}-rest")], dice)

    def _offer(self, offers: list[Click], dice: random.Random) -> None:
        """Pay, all at once; what is refused must not fit beside what was booked."""
        refused = self._note_payments(self._at_once(offers, dice))
        left = self.ledger.left(offers[0].body)
        self.ledger.wrong += [
            f"{click} does fit: {left}" for click in refused if click.body["amount"] <= left
        ]
        if left < 0:
            self.ledger.wrong.append(f"order {offers[0].body['order_id']}: {-left} too much was taken")

    def _note_payments(self, answers: Iterable[tuple[Click, httpx.Response]]) -> list[Click]:
        """Note what was booked, and return what was refused."""
        ledger, refused = self.ledger, []
        for click, answer in answers:
            if answer.status_code == 201:
                payment_id: int = answer.json()["payment_id"]
                known = ledger.ids.setdefault(click.key, payment_id)
                booked = ledger.payments.setdefault(known, Booked(click, click.body["status"]))
                if known != payment_id or booked.offer != click:
                    ledger.wrong.append(f"{click}: {payment_id} is not its one payment: {known}, {booked}")
            elif answer.status_code == 409:
                refused.append(click)
            else:
                ledger.wrong.append(f"{click}: {answer.status_code} {answer.text}")
        return refused

    def _change(self, order_id: int, dice: random.Random) -> None:
        """Change several payments of an order at once, and pay again what may become free of its bill.

        The new payments race with the changes. A refusal is judged anew, so they are offered once more.
        """
        found = self.ledger.of_order(order_id).items()
        changes = {
            payment_id: changes_of(payment_id, booked, dice)
            for payment_id, booked in found
            if booked.stands and dice.random() < 0.7
        }
        offers = [
            booked.offer._replace(key=f"{till}-instead-of-{payment_id}")
            for payment_id, booked in found
            if payment_id in changes and dice.random() < 0.5
            for till in "ab"
        ]
        answers = list(
            self._at_once([*offers, *(click for clicks in changes.values() for click in clicks)], dice)
        )
        for payment_id, clicks in changes.items():
            self._note_change(payment_id, [(click, answer) for click, answer in answers if click in clicks])
        self._note_payments((click, answer) for click, answer in answers if click in offers)
        if offers:
            self._offer(offers, dice)

    def _note_change(self, payment_id: int, answers: Sequence[tuple[Click, httpx.Response]]) -> None:
        """Note what became of a payment: one click won, with the same answer for all that have its key.

        Of `paid` and `failed` both may: then it failed first, and was paid after all.
        """
        booked = self.ledger.payments[payment_id]
        done = [(click.key, answer.text) for click, answer in answers if answer.is_success]
        refused = {click.key for click, answer in answers if answer.status_code == 409}
        winners = {key for key, _ in done}
        is_settled = booked.status == "pending"
        if (
            len(set(done)) != len(winners)  # two answers for one key
            or not 1 <= len(winners) <= (2 if is_settled else 1)
            or winners & refused
            or len(done) + sum(answer.status_code == 409 for _, answer in answers) < len(answers)
        ):
            said = [(click, answer.status_code, answer.text) for click, answer in answers]
            self.ledger.wrong.append(f"payment {payment_id}: {said}")
        if is_settled and f"paid-{payment_id}" in refused:
            self.ledger.late.add(payment_id)
        newest = [answer.json() for _, answer in answers if answer.is_success]
        newest.sort(key=lambda now: now.get("status") == "paid", reverse=True)
        # of two refunds that won only one is noted: the other is found in the database
        for now in newest[:1]:
            if is_settled:
                booked.status = now["status"]
                self.ledger.settled += 1
            else:
                self.ledger.refunds[now["id"]] = (now["payment_id"], now["amount"])
                booked.refunded += now["amount"]
                booked.status = "refunded" if booked.refunded == booked.amount else "paid"

    def _at_once(self, clicks: list[Click], dice: random.Random) -> Iterator[tuple[Click, httpx.Response]]:
        """Send all in any order, neighbours through different processes; return each with its answer."""
        dice.shuffle(clicks)
        way = dice.randrange(len(self._apis))  # drawn here: threads that draw would make the seed worthless
        return zip(clicks, self._hands.map(self._insist, clicks, range(way, way + len(clicks))), strict=True)

    def _insist(self, click: Click, way: int) -> httpx.Response:
        """Ask until there is an answer other than 503, over the other process after each failure."""
        while True:
            answer = self._ask(click, way)
            if answer is not None and answer.status_code != 503:
                return answer
            way += 1
            time.sleep(0.05)

    def _ask(self, click: Click, way: int) -> httpx.Response | None:
        """Return the answer, None if the connection was lost or refused."""
        url = self._apis[way % len(self._apis)].url
        headers = {"Idempotency-Key": click.key} if click.key else {}
        began_s = time.monotonic()
        answer = None
        try:
            answer = self._http.request(click.method, f"{url}{click.path}", json=click.body, headers=headers)
        except httpx.TimeoutException as error:
            self.ledger.wrong.append(f"{click}: no answer in {ANSWER_WITHIN_S} s: {error!r}")
        except httpx.TransportError:
            self.ledger.answers.append(("connection lost", 0.0))
        else:
            self.ledger.answers.append((str(answer.status_code), time.monotonic() - began_s))
        return answer
