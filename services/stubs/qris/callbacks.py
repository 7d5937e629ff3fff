"""What Midtrans and Xendit say of a QR code, as they document it, and how the bridge is called with that."""

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener
from uuid import uuid4

ANSWER_WITHIN_S = 15

JAKARTA = timezone(timedelta(hours=7))
BUSINESS_ID = "58cd618ba0464eb64acdb246"
open_url = build_opener(ProxyHandler({})).open  # past any proxy


class Callback(NamedTuple):
    """One callback; it is the same at each attempt."""

    path: str
    headers: dict[str, str]
    body: dict[str, object]

    def send(self, bridge_url: str) -> tuple[int, str]:
        """Return the status and the text of the bridge's answer; 0 and the reason if none came."""
        headers = {"Content-Type": "application/json"} | self.headers
        content = json.dumps(self.body).encode()
        asked = Request(bridge_url + self.path, content, headers)  # noqa: S310  # it is a setting
        try:
            with open_url(asked, timeout=ANSWER_WITHIN_S) as answer:
                return answer.status, answer.read().decode(errors="replace").strip()
        except HTTPError as refused:
            return refused.code, refused.read().decode(errors="replace").strip()
        except OSError as failed:
            return 0, str(failed)


def midtrans(payment_id: int, transaction_id: str, amount: int, server_key: str, status: str) -> Callback:
    """A `settlement` or an `expire`; the signature covers the payment, the code and the amount."""
    order_id, gross_amount = f"payment-{payment_id}", f"{amount}.00"
    code = "200" if status == "settlement" else "407"
    now = f"{datetime.now(JAKARTA):%Y-%m-%d %H:%M:%S}"
    body: dict[str, object] = {
        "transaction_type": "on-us",
        "transaction_time": now,
        "transaction_status": status,
        "transaction_id": transaction_id,
        "status_message": "midtrans payment notification",
        "status_code": code,
        "signature_key": hashlib.sha512(f"{order_id}{code}{gross_amount}{server_key}".encode()).hexdigest(),
        "payment_type": "qris",
        "order_id": order_id,
        "merchant_id": "G141532850",
        "issuer": "gopay",
        "gross_amount": gross_amount,
        "fraud_status": "accept",
        "currency": "IDR",
        "acquirer": "gopay",
    }
    if status == "settlement":
        body["settlement_time"] = now
    return Callback("/callbacks/midtrans", {}, body)


def xendit(payment_id: int, transaction_id: str, amount: int, token: str) -> Callback:
    """A `qr.payment`, with an id of its own; the token is all that shows whose it is."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    data = {
        "id": f"qrpy_{transaction_id}",
        "business_id": BUSINESS_ID,
        "currency": "IDR",
        "amount": amount,
        "status": "SUCCEEDED",
        "created": now,
        "qr_id": f"qr_{transaction_id}",
        "reference_id": f"payment-{payment_id}",
        "type": "DYNAMIC",
        "channel_code": "ID_DANA",
        "payment_detail": {"receipt_id": "000111666", "source": "GOPAY"},
    }
    body: dict[str, object] = {
        "event": "qr.payment",
        "api_version": "2022-07-31",
        "business_id": BUSINESS_ID,
        "created": now,
        "data": data,
    }
    return Callback("/callbacks/xendit", {"x-callback-token": token, "webhook-id": str(uuid4())}, body)
