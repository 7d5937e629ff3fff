"""Repeats: what is told once more when an attempt without an answer can no longer be applied late.

Tests set RESEND_AFTER_S to `LONG` and say themselves when that is over: no repeat comes before, however long
a process stands still, and nobody waits for it.
"""

import time
from typing import Any

from sqlalchemy import make_url, update

from payment.core.states import State
from payment.storage.opening import open_database
from payment.storage.tables import notifications
from processes import Service, wait_for

LONG = "36000"
"""A RESEND_AFTER_S that ends in no test, and is longer than what failed may wait."""


def repeats_that_wait(service: Service, count: int = 1) -> list[dict[str, Any]]:
    """Return the repeats whose time has not come, once there are so many."""

    def found() -> list[dict[str, Any]]:
        now_us = time.time_ns() // 1000
        rows = [row for row in service.notifications() if row["is_repeat"] and row["state"] == State.WAITING]
        rows = [row for row in rows if row["next_attempt_us"] > now_us]
        return rows if len(rows) >= count else []

    return wait_for(found, what=f"{count} repeats that wait")


def let_their_time_come(service: Service, count: int = 1) -> None:
    """Make the repeats due that wait, once there are so many."""
    ids = [row["id"] for row in repeats_that_wait(service, count)]
    database = open_database(make_url(service.environment["DATABASE_URL"]))
    with database.write() as connection:
        due = update(notifications).where(notifications.c.id.in_(ids))
        connection.execute(due.values(next_attempt_us=time.time_ns() // 1000))
    database.close()
