"""What every command needs: its database, closed when the command ends, the time, and who runs it."""

import os
import pwd
import time

import click

from payment.core.cause import Cause, actor_of_user
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


def cause() -> Cause:
    """Return who runs the command: a user of this system, not who the environment says it is."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in a container that runs as any number
        name = str(os.getuid())
    return Cause(actor_of_user(name))
