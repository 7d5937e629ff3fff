"""What every command needs: its database, which is closed when the command ends, and the time."""

import time

import click

from payment.core.settings import Settings
from payment.storage.base import Database
from payment.storage.opening import open_current


def opened(settings: Settings) -> Database:
    """Return the database, its schema current, until the command ends."""
    return closed_at_the_end(open_current(settings.database_url, settings.database_listen_url))


def closed_at_the_end(database: Database) -> Database:
    """Return the database, which is closed when the command ends."""
    click.get_current_context().call_on_close(database.close)
    return database


def now_us() -> int:
    """Return the time, microseconds since the epoch."""
    return time.time_ns() // 1000
