"""FastAPI and the SQLAlchemy ORM, written with care: what `POST /payments` costs the usual way.

A payment is one transaction: a bill (one per order), the payment, and a notification each for Order
and User. Everything that is known to cost speed for nothing was avoided: the tables have the
indexes they need and no more, objects do not expire on commit, the session lives inside the
endpoint (as a dependency it would cost two more hops between threads), SQLite has a small pool, because
its writers wait better for a connection than for a lock, and the answer is made by orjson and goes out as it
is.

The endpoints are plain `def`, so they run in FastAPI's thread pool. On SQLite that is the faster
way: with 16 connections the same service with `async def`, `AsyncSession` and aiosqlite reaches
about half the requests per second.

    uvicorn bench.peers.fastapi_orm.app:app --loop uvloop --http httptools --no-access-log
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import FastAPI, HTTPException, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import (
    BigInteger,
    Connection,
    DateTime,
    Engine,
    ForeignKey,
    Index,
    Integer,
    create_engine,
    event,
    text,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

LARGEST = 2**53 - 1
BUSY_TIMEOUT_MS = 5_000
SQLITE_POOL_SIZE = 2
POOL_SIZE = 16

BigInt = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows itself only in an INTEGER key, which has 64 bits there."""


class Base(DeclarativeBase):
    """The tables."""


class Bill(Base):
    """What an order costs and what has been paid towards it: one per order."""

    __tablename__ = "bills"

    order_id: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    total: Mapped[int] = mapped_column(BigInt)
    paid: Mapped[int] = mapped_column(BigInt)


class Payment(Base):
    """Money that a guest paid for an order."""

    __tablename__ = "payments"

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    order_id: Mapped[int] = mapped_column(BigInt, ForeignKey("bills.order_id"), index=True)
    user_id: Mapped[int] = mapped_column(BigInt, index=True)
    amount: Mapped[int] = mapped_column(BigInt)
    status: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Notification(Base):
    """Something that Order or User has yet to be told."""

    __tablename__ = "notifications"
    __table_args__ = (
        Index(
            "notifications_due",
            "service",
            "next_attempt_at",
            sqlite_where=text("state = 'waiting'"),
            postgresql_where=text("state = 'waiting'"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    payment_id: Mapped[int] = mapped_column(BigInt, ForeignKey("payments.id"), index=True)
    service: Mapped[str]
    target_id: Mapped[int] = mapped_column(BigInt)
    state: Mapped[str]
    attempts: Mapped[int]
    next_attempt_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


FIELDS = ("id", "order_id", "user_id", "amount", "status", "created_at")


class NewPayment(BaseModel):
    """The body of `POST /payments`; fields it does not name are ignored."""

    model_config = ConfigDict(strict=True)

    order_id: Annotated[int, Field(ge=1, le=LARGEST)]
    user_id: Annotated[int, Field(ge=1, le=LARGEST)]
    amount: Annotated[int, Field(ge=1, le=LARGEST)]


def make_engine(url: str) -> Engine:
    """A pooled engine; SQLite gets the settings that our own service gives it."""
    if not url.startswith("sqlite"):
        return create_engine(url, pool_size=POOL_SIZE, max_overflow=0)
    engine = create_engine(url, pool_size=SQLITE_POOL_SIZE, max_overflow=0)

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        connection.exec_driver_sql(options.get("sqlite_begin", "BEGIN IMMEDIATE"))

    return engine


database_url = os.environ.get("DATABASE_URL", "sqlite:///peer.db")  # noqa: TID251  # own program
engine = make_engine(database_url)
Writing = sessionmaker(engine, expire_on_commit=False)
Reading = sessionmaker(engine.execution_options(sqlite_begin="BEGIN"), expire_on_commit=False)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Create the tables; close the connections at the end."""
    Base.metadata.create_all(engine)
    yield
    engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/payments", status_code=201)
def pay(new: NewPayment) -> Response:
    """Record a payment that settles its order."""
    now = datetime.now(UTC)
    already_settled = HTTPException(409, f"Pesanan {new.order_id} sudah lunas")
    with Writing() as session:
        if session.get(Bill, new.order_id, with_for_update=True) is not None:
            raise already_settled
        payment = Payment(
            order_id=new.order_id,
            user_id=new.user_id,
            amount=new.amount,
            status="paid",
            created_at=now,
        )
        session.add(Bill(order_id=new.order_id, total=new.amount, paid=new.amount))
        session.add(payment)
        try:
            session.flush()
        except IntegrityError:  # another request created the bill since it was looked for
            raise already_settled from None
        session.add_all(
            Notification(
                payment_id=payment.id,
                service=service,
                target_id=target_id,
                state="waiting",
                attempts=0,
                next_attempt_at=now,
            )
            for service, target_id in (("order", new.order_id), ("user", new.user_id))
        )
        session.commit()
    return as_json({"message": "Pembayaran diproses", "payment_id": payment.id}, 201)


@app.get("/payments/{payment_id}")
def get_payment(payment_id: Annotated[int, Path(ge=1, le=LARGEST)]) -> Response:
    """Read a payment."""
    with Reading() as session:
        payment = session.get(Payment, payment_id)
    if payment is None:
        raise HTTPException(404, "Pembayaran tidak ditemukan")
    return as_json({name: getattr(payment, name) for name in FIELDS}, 200)


def as_json(answer: dict[str, Any], status: int) -> Response:
    """An answer that FastAPI neither checks nor encodes again."""
    return Response(orjson.dumps(answer), status, media_type="application/json")
