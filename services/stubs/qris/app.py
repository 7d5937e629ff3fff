"""A stand-in for a QRIS gateway: QR codes, guests who pay them, signed callbacks, and how these go wrong.

Run `python app.py`. README.md has its settings, its switches and a tour.
"""

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path
from secrets import token_hex
from threading import Lock, Timer
from typing import Any
from uuid import uuid4

from flask import Flask, Response, request

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `stub` is, which all stubs share

from callbacks import Callback, midtrans, xendit
from stub.answers import json_response
from stub.server import BODY_LIMIT_BYTES, serve
from stub.settings import int_setting, setting

RETRIES = 5
SECRETS = {"midtrans": "MIDTRANS_SERVER_KEY", "xendit": "XENDIT_CALLBACK_TOKEN"}
Check = tuple[Callable[[Any], bool], str]

_WHOLE: Check = (lambda v: type(v) is int and v >= 1, "a whole number from 1")  # type(): bool is an int too
_SWITCH: Check = (lambda v: isinstance(v, bool), "true or false")
QR: dict[str, Check] = {
    "payment_id": _WHOLE,
    "amount": _WHOLE,
    "gateway": (lambda v: v in ("midtrans", "xendit"), '"midtrans" or "xendit"'),
    "expires_at": (lambda v: v is None or seconds_to(v) is not None, "a time with its offset, or null"),
}
SWITCHES: dict[str, Check] = {
    "amount": _WHOLE,
    "twice": (lambda v: v in ("same", "another"), '"same" or "another"'),
    "late_s": (lambda v: type(v) in (int, float) and 0 <= v <= 3600, "seconds from 0 to 3600"),
    "never": _SWITCH,
    "forged": _SWITCH,
}


@dataclass
class Qr:
    """A QR code: what is to be paid with it, what became of it, and what the bridge answered about that."""

    payment_id: int
    amount: int
    gateway: str = "midtrans"
    expires_at: str | None = None
    status: str = "ACTIVE"
    id: int = 0
    transaction_id: str = field(default_factory=lambda: str(uuid4()))
    answers: list[dict[str, object]] = field(default_factory=list)
    last: list[Callback] = field(default_factory=list)

    def shown(self) -> dict[str, object]:
        """The code as JSON; `qr_string` is what a till draws."""
        fields = {name: value for name, value in vars(self).items() if name != "last"}
        return fields | {"qr_string": f"00020101021226QRIS{self.transaction_id}"}


def seconds_to(moment: object) -> float | None:
    """How far ahead a time is, 0 if it is past; None if it is none, or has no offset."""
    try:
        at = datetime.fromisoformat(moment) if isinstance(moment, str) else None
    except ValueError:
        return None
    return None if at is None or at.tzinfo is None else max(0.0, at.timestamp() - time.time())


def refusal(body: object, checks: dict[str, Check], *needed: str) -> str | None:
    """What is wrong with a body; None if it can be used."""
    if not isinstance(body, dict):
        return "the body must be a JSON object"
    for name in (*needed, *body):
        if name not in checks:
            return f"unknown field {name}"
        if name not in body or not checks[name][0](body[name]):
            return f"{name} must be {checks[name][1]}"
    return None


class Gateway:
    """The codes, and the calls to the bridge until it answers 2xx.

    Args:
        bridge_url: its address.
        secrets: what callbacks are signed with, by the gateway's name.
        retry_s: how long after an attempt that failed the next is made; twice as long each time.
    """

    def __init__(self, bridge_url: str, secrets: dict[str, str], retry_s: float) -> None:
        self._bridge_url, self._secrets, self._retry_s = bridge_url, secrets, retry_s
        self._ids = count(1)
        self._lock = Lock()
        self.codes: dict[int, Qr] = {}

    def make(self, qr: Qr) -> None:
        """Give a code its id and keep it; let it expire if it does."""
        qr.id = next(self._ids)
        self.codes[qr.id] = qr
        left_s = seconds_to(qr.expires_at)
        if left_s is not None:
            Timer(left_s, self._expire, (qr,)).start()

    def pay(self, qr: Qr, switches: dict[str, Any]) -> bool:
        """Let the guest pay, and call the bridge; False if the code is not to be paid any more."""
        if not self._has_become(qr, "PAID"):
            return False
        calls = [self._settlement(qr, switches)]
        if "twice" in switches:
            calls += calls if switches["twice"] == "same" else [self._settlement(qr, switches)]
        qr.last = calls[-1:]
        if "late_s" in switches:
            Timer(switches["late_s"], self.call, (qr, calls)).start()
        elif not switches.get("never"):
            self.call(qr, calls)
        return True

    def call(self, qr: Qr, callbacks: list[Callback]) -> None:
        """Send all at the same time; return after the first attempt of each."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(partial(self._attempt, qr), callbacks))

    def _attempt(self, qr: Qr, callback: Callback, before: int = 0) -> None:
        status, said = callback.send(self._bridge_url)
        qr.answers.append({"status": status, "body": said})
        if status // 100 != 2 and before < RETRIES:
            Timer(self._retry_s * 2**before, self._attempt, (qr, callback, before + 1)).start()

    def _settlement(self, qr: Qr, switches: dict[str, Any]) -> Callback:
        secret = token_hex() if switches.get("forged") else self._secrets[qr.gateway]
        amount = switches.get("amount", qr.amount)
        if qr.gateway == "xendit":
            return xendit(qr.payment_id, qr.transaction_id, amount, secret)
        return midtrans(qr.payment_id, qr.transaction_id, amount, secret, "settlement")

    def _expire(self, qr: Qr) -> None:
        if self._has_become(qr, "EXPIRED") and qr.gateway == "midtrans":
            secret = self._secrets["midtrans"]
            self.call(qr, [midtrans(qr.payment_id, qr.transaction_id, qr.amount, secret, "expire")])

    def _has_become(self, qr: Qr, status: str) -> bool:
        with self._lock:
            was_active = qr.status == "ACTIVE"
            qr.status = status if was_active else qr.status
        return was_active


def create_app(gateway: Gateway) -> Flask:
    """The gateway's routes; `/health` as in all stubs."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT_BYTES
    unknown = {"error": "unknown QR code"}

    @app.get("/health")
    def get_health() -> Response:
        return json_response({"status": "ok"})

    @app.post("/qr")
    def post_qr() -> Response:
        body: Any = request.get_json(silent=True)
        wrong = refusal(body, QR, "payment_id", "amount")
        if wrong is not None:
            return json_response({"error": wrong}, 400)
        gateway.make(qr := Qr(**body))
        return json_response(qr.shown(), 201)

    @app.get("/qr/<int:qr_id>")
    def get_qr(qr_id: int) -> Response:
        qr = gateway.codes.get(qr_id)
        return json_response(qr.shown()) if qr else json_response(unknown, 404)

    @app.post("/qr/<int:qr_id>/pay")
    def post_pay(qr_id: int) -> Response:
        qr = gateway.codes.get(qr_id)
        body: Any = request.get_json(silent=True) if request.data else {}
        wrong = refusal(body, SWITCHES)
        if qr is None or wrong is not None:
            return json_response({"error": wrong}, 400) if qr else json_response(unknown, 404)
        if not gateway.pay(qr, body):
            return json_response({"error": f"this code is {qr.status}"}, 409)
        return json_response(qr.shown())

    @app.post("/qr/<int:qr_id>/resend")
    def post_resend(qr_id: int) -> Response:
        qr = gateway.codes.get(qr_id)
        if qr:
            gateway.call(qr, qr.last)
        return get_qr(qr_id)

    return app


if __name__ == "__main__":
    serve(
        create_app(
            Gateway(
                setting("BRIDGE_URL", "http://localhost:5005"),
                {name: setting(variable, "") for name, variable in SECRETS.items()},
                int_setting("RETRY_MS", 2000, low=1, high=3_600_000) / 1000,
            )
        ),
        "qris",
        5006,
    )
