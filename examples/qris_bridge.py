"""A bridge from a QRIS gateway to Payment: what a genuine callback says becomes a PATCH of the payment.

It keeps nothing of its own, so it may be killed at any moment, and several may run: Payment knows whether a
callback has come before. What it answers, and why: docs/qris.md. `python qris_bridge.py` is enough to try it.
In production a WSGI server runs `qris_bridge:app` behind https.
"""

import hashlib
import logging
import os
import re
from contextlib import suppress
from hmac import compare_digest
from typing import Any, NamedTuple

import requests
from flask import Flask, Response, request
from werkzeug.serving import make_server

PAYMENT_URL = os.environ.get("PAYMENT_URL", "http://localhost:5004")
PAYMENT_KEY = os.environ.get("PAYMENT_KEY", "")  # with the scopes payments:read and payments:write
MIDTRANS_SERVER_KEY = os.environ.get("MIDTRANS_SERVER_KEY", "")
XENDIT_CALLBACK_TOKEN = os.environ.get("XENDIT_CALLBACK_TOKEN", "")
WITHIN_S = (2, 5)  # to connect, to answer. We ask twice, and Midtrans waits 15 s for us

ENDED = {"expire", "cancel", "deny", "failure"}
KEPT = {"reference-taken", "late-payment"}  # booked as another payment; noted until somebody resolves it
REFUSED = {400, 404, 409, 422}  # to ask again would not help

log = logging.getLogger("bridge")
app = Flask(__name__, static_folder=None)
app.config["MAX_CONTENT_LENGTH"] = 64 * 1024
payments = requests.Session()
payments.trust_env = False  # no proxy, no .netrc
payments.headers["Connection"] = "close"  # a kept one may be dead, and a gateway tries again in minutes
payments.headers["Accept"] = "application/problem+json"
if PAYMENT_KEY:
    payments.headers["Authorization"] = f"Bearer {PAYMENT_KEY}"


class Told(NamedTuple):
    """What a gateway says of a payment of ours; `key` is the same whenever it says this again."""

    our_id: str
    amount: str
    status: str
    transaction: str
    key: str


@app.post("/callbacks/midtrans")
def midtrans() -> Response:
    """Midtrans signs payment, code and amount. Its callbacks have no id: transaction and status make one."""
    body = body_of_request()
    names = ("order_id", "status_code", "gross_amount", "transaction_status", "transaction_id")
    our_id, code, amount, status, transaction = (text_of(body.get(name)) for name in names)
    signed = f"{our_id}{code}{amount}{MIDTRANS_SERVER_KEY}".encode(errors="replace")
    signature = hashlib.sha512(signed).hexdigest()
    if not (MIDTRANS_SERVER_KEY and is_same(text_of(body.get("signature_key")), signature)):
        return answer(403, "forged")
    told = Told(our_id, amount, "paid", transaction, key=f"{transaction}:{status}")
    if (
        status in {"settlement", "capture"}
        and code == "200"
        and body.get("fraud_status", "accept") == "accept"
    ):
        return settle(told)
    if status in ENDED:
        return settle(told._replace(status="failed"))
    return answer(200, "nothing-to-do", told._replace(status=status))


@app.post("/callbacks/xendit")
def xendit() -> Response:
    """Xendit sends its token, and an id of the callback; it tells of codes that were paid."""
    token = request.headers.get("x-callback-token", "")
    if not (XENDIT_CALLBACK_TOKEN and is_same(token, XENDIT_CALLBACK_TOKEN)):
        return answer(403, "forged")
    body = body_of_request()
    data = fields_of(body.get("data"))
    our_id, amount, transaction = (text_of(data.get(name)) for name in ("reference_id", "amount", "id"))
    told = Told(our_id, amount, "paid", transaction, key=request.headers.get("webhook-id", transaction))
    if body.get("event") == "qr.payment" and data.get("status") == "SUCCEEDED":
        return settle(told)
    return answer(200, "nothing-to-do", told._replace(status=text_of(data.get("status"))))


@app.get("/health")
def health() -> Response:
    """200 while the process serves."""
    return Response("ok", mimetype="text/plain")


def settle(told: Told) -> Response:
    """Tell Payment; a gateway that is to try again hears 503."""
    try:
        status, outcome = tell_payment(told)
    except (requests.RequestException, ValueError, LookupError, TypeError) as failed:
        return answer(503, "try-again", told, failed)  # Payment is away, or does not take our key
    return answer(status, outcome, told)


def tell_payment(told: Told) -> tuple[int, str]:
    """Settle the payment; return what to answer, a 2xx only if Payment has all that was told for good."""
    named = re.fullmatch(r"payment-([1-9][0-9]{0,14})", told.our_id)
    if named is None:
        return 404, "unknown-payment"
    url = f"{PAYMENT_URL}/payments/{named[1]}"
    found = payments.get(url, timeout=WITHIN_S, allow_redirects=False)
    if found.status_code == 404:
        return 404, "unknown-payment"
    found.raise_for_status()
    payment = found.json()
    if not re.fullmatch(rf"{payment['amount']}(\.0+)?", told.amount):
        return 409, "amount-differs"
    is_paid = told.status == "paid"
    settled = payments.patch(
        url,
        json={"status": told.status} | ({"reference": told.transaction} if is_paid else {}),
        headers={"Idempotency-Key": told.key},
        timeout=WITHIN_S,
        allow_redirects=False,
    )
    if settled.status_code == 200:
        return 200, told.status
    if settled.status_code not in REFUSED:
        settled.raise_for_status()
    refusal = settled.json()["type"].rpartition(":")[2]
    is_past = not is_paid or payment["reference"] == told.transaction
    is_kept = refusal in KEPT or (refusal == "move-not-allowed" and is_past)
    return 200 if is_kept else 409, refusal


def answer(status: int, outcome: str, told: Told | None = None, why: object = "") -> Response:
    """Answer the gateway; the log says so too, and warns of what somebody has to look at."""
    level = logging.INFO if status == 200 and outcome not in KEPT else logging.WARNING
    log.log(level, "%s %s %s %s", status, outcome, told or "", why)
    return Response(outcome, status, mimetype="text/plain")


def is_same(given: str, right: str) -> bool:
    """Compare in constant time."""
    return compare_digest(given.encode(errors="replace"), right.encode())


def body_of_request() -> dict[str, Any]:
    """Return the fields of the request's JSON object; none if it has no such body."""
    with suppress(RecursionError):  # too deep
        return fields_of(request.get_json(silent=True))
    return {}


def fields_of(value: object) -> dict[str, Any]:
    """Return a JSON object's fields; none of anything else."""
    return value if isinstance(value, dict) else {}


def text_of(value: object) -> str:
    """Return a text or a number as text; "" for anything else."""
    return str(value) if isinstance(value, str | int | float) else ""


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # we say more of each request
    server = make_server(
        os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "5005")), app, threaded=True
    )
    print(f"bridge on http://{server.host}:{server.port}", flush=True)
    with suppress(KeyboardInterrupt):
        server.serve_forever()
