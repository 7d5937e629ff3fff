"""Payments as a client with an API key makes them, each with an Idempotency-Key."""

import hashlib
import time
import uuid
from dataclasses import dataclass

from sqlalchemy import URL

from payment.core.cause import Cause
from payment.ledger.keys import NewKey, create_key
from payment.storage.opening import open_database

CLIENT = "bench"


@dataclass(frozen=True, slots=True)
class KeyedPayments:
    """Request number n pays order `first_order_id + n`, with a UUID as its key, for one of so many guests."""

    api_key: str
    first_order_id: int
    guests: int
    expected_status: int = 201

    def __call__(self, n: int) -> bytes:
        """The bytes of request number n."""
        order_id = self.first_order_id + n
        key = uuid.UUID(hashlib.md5(str(order_id).encode()).hexdigest())
        user_id = 2 + key.int % self.guests
        body = f'{{"order_id": {order_id}, "user_id": {user_id}, "amount": 20000}}'
        return (
            "POST /payments HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {self.api_key}\r\nIdempotency-Key: {key}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


def new_api_key(url: URL) -> str:
    """Make a key that may pay; returns its text."""
    database = open_database(url)
    with database.write() as connection:
        asked = NewKey(CLIENT, ["payments:write"])
        key = create_key(connection, asked, Cause(), time.time_ns() // 1000)
    database.close()
    return key.text
