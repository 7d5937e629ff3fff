"""FastAPI and asyncpg, one INSERT a payment: what a service reaches that keeps the payment and does no more.

No bill (an order can be paid twice), no notifications (nobody is told), no transaction but the statement's.
Nothing that costs speed for nothing is left in: asyncpg prepares the statement once a connection, the pool
does not RESET a connection after each use, the answer is made by orjson and goes out as it is.

    uvicorn bench.peers.fastapi_thin.app:app --loop uvloop --http httptools --no-access-log
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import asyncpg  # type: ignore[import-untyped]
import orjson
from fastapi import FastAPI, HTTPException, Path, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

LARGEST = 2**53 - 1
POOL_SIZE = 16

TABLES = """
CREATE TABLE IF NOT EXISTS payments (
    id bigserial PRIMARY KEY,
    order_id bigint NOT NULL,
    user_id bigint NOT NULL,
    amount bigint NOT NULL,
    status text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS payments_order ON payments (order_id);
CREATE INDEX IF NOT EXISTS payments_user ON payments (user_id);
"""

INSERT_PAYMENT = """
INSERT INTO payments (order_id, user_id, amount, status, created_at) VALUES ($1, $2, $3, 'paid', $4)
RETURNING id
"""

SELECT_PAYMENT = "SELECT id, order_id, user_id, amount, status, created_at FROM payments WHERE id = $1"


class NewPayment(BaseModel):
    """The body of `POST /payments`; fields it does not name are ignored."""

    model_config = ConfigDict(strict=True)

    order_id: Annotated[int, Field(ge=1, le=LARGEST)]
    user_id: Annotated[int, Field(ge=1, le=LARGEST)]
    amount: Annotated[int, Field(ge=1, le=LARGEST)]


async def keep_settings(_connection: Any) -> None:
    """Take the place of the pool's RESET after each use."""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the pool, create the tables; close the pool at the end."""
    url = os.environ["DATABASE_URL"]  # noqa: TID251  # own program
    async with asyncpg.create_pool(url, min_size=POOL_SIZE, max_size=POOL_SIZE, reset=keep_settings) as pool:
        await pool.execute(TABLES)
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/payments", status_code=201)
async def pay(new: NewPayment, request: Request) -> Response:
    """Record a payment."""
    payment_id = await request.app.state.pool.fetchval(
        INSERT_PAYMENT, new.order_id, new.user_id, new.amount, datetime.now(UTC)
    )
    return as_json({"message": "Pembayaran diproses", "payment_id": payment_id}, 201)


@app.get("/payments/{payment_id}")
async def get_payment(payment_id: Annotated[int, Path(ge=1, le=LARGEST)], request: Request) -> Response:
    """Read a payment."""
    payment = await request.app.state.pool.fetchrow(SELECT_PAYMENT, payment_id)
    if payment is None:
        raise HTTPException(404, "Pembayaran tidak ditemukan")
    return as_json(dict(payment), 200)


def as_json(answer: dict[str, Any], status: int) -> Response:
    """An answer that FastAPI neither checks nor encodes again."""
    return Response(orjson.dumps(answer), status, media_type="application/json")
