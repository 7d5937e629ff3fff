"""Plays a history into an empty database, so that all holds that the rules and the database demand."""

from collections.abc import Iterator
from functools import partial
from random import Random

from sqlalchemy import Connection, literal, select, update

from payment.core.neighbours import NEIGHBOURS, ORDER
from payment.demo.agenda import Agenda
from payment.demo.history import History
from payment.demo.messenger import Messenger
from payment.demo.till import Till
from payment.storage.base import Database
from payment.storage.tables import event_log, metadata


def is_empty(connection: Connection) -> bool:
    """Say whether nothing was ever written to a database."""
    tables = (
        table for table in metadata.sorted_tables if table is not event_log
    )  # the schema comes with its row
    return all(
        connection.execute(select(literal(1)).select_from(table).limit(1)).first() is None for table in tables
    )


def replay(database: Database, history: History, seed: int) -> Iterator[int]:
    """Let everything happen that happens in a history.

    Args:
        database: an empty one.
        history: what happens.
        seed: draws what that does not say: names of requests, how long answers take.

    Yields:
        After each transaction: until when everything has happened, microseconds since the epoch.
    """
    draw = Random(f"{seed} replay")  # noqa: S311  # no secret
    agenda = Agenda(history.now_us)
    messengers = {
        name: Messenger(neighbour, history.mishaps, agenda, draw) for name, neighbour in NEIGHBOURS.items()
    }

    def booked(now_us: int) -> None:
        for messenger in messengers.values():
            messenger.wake(now_us)

    till = Till(agenda, booked, draw)
    agenda.at(history.begins_us, _begin_log)
    agenda.at(history.begins_us, till.open)
    for visit in history.visits:
        for share in visit.shares:
            agenda.at(share.at_us, partial(till.pay, visit, share))
    for again in history.told_again:
        agenda.at(again.at_us, partial(messengers[ORDER.name].tell_again, again.order_id))
    yield from agenda.run(database)
    with database.write() as connection:
        till.close(connection)


def _begin_log(connection: Connection, now_us: int) -> None:
    """Let the log of events begin with the first of them, and not when the schema was made."""
    connection.execute(update(event_log).values(begins_us=now_us))
