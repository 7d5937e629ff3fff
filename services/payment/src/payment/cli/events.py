"""`payment events`."""

import json
import time
from collections.abc import Iterator

import click

from payment.cli.opening import opened
from payment.core.errors import PaymentError
from payment.core.settings import Settings
from payment.core.states import EventType
from payment.core.units import WHOLE_NUMBER_MAX
from payment.ledger.cloud_events import cloud_event
from payment.ledger.event_log import (
    BEGINNING,
    EventPage,
    EventSelection,
    find_events,
    find_newest_events,
    read_place,
)
from payment.storage.base import Database

LOOK_EVERY_S = 0.5
PAGE = 500
_LINE = "{time}  {type:<20}  {subject:<24}  {actor:<24}  {requestid}"
_ID = click.IntRange(1, WHOLE_NUMBER_MAX)


@click.command("events")
@click.option("--type", "type_", type=click.Choice([each.value for each in EventType]))
@click.option("--order", "order_id", type=_ID, help="Pesanan ini / of this order.")
@click.option("--payment", "payment_id", type=_ID, help="Pembayaran ini / of this payment.")
@click.option("--after", metavar="CURSOR", help="Sesudah kursor ini / after this cursor.")
@click.option("--all", "from_beginning", is_flag=True, help="Dari awal / from the beginning.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Yang terbaru / newest."
)
@click.option("--follow", is_flag=True, help="Terus ikuti / go on with what comes; Ctrl-C ends.")
@click.option("--json", "as_json", is_flag=True, help="CloudEvents, satu sebaris / one a line.")
@click.pass_obj
def events(  # noqa: PLR0913  # one for each option
    settings: Settings,
    *,
    type_: str | None,
    order_id: int | None,
    payment_id: int | None,
    after: str | None,
    from_beginning: bool,
    limit: int,
    follow: bool,
    as_json: bool,
) -> None:
    """Apa yang terjadi, oleh siapa / what happened, by whom: the newest, or all after a cursor.

    Each event's id, which --json shows, is a cursor.
    """
    if after and from_beginning:
        raise click.UsageError("Pilih --after atau --all / choose one of the two.")
    selection = EventSelection(EventType(type_) if type_ else None, order_id, payment_id)
    database = opened(settings)
    try:
        for page in _pages(database, selection, "" if from_beginning else after, limit, follow=follow):
            for event in page.events:
                shown = cloud_event(event)
                click.echo(
                    json.dumps(shown) if as_json else _LINE.format_map({"requestid": "", **shown}).rstrip()
                )
    except PaymentError as error:
        raise click.ClickException(f"--after: {error}") from None


def _pages(
    database: Database, selection: EventSelection, after: str | None, limit: int, *, follow: bool
) -> Iterator[EventPage]:
    """Yield the newest events as one page, or all after a cursor ("": from the beginning), page by page."""
    with database.read() as connection:
        if after is None:
            page = find_newest_events(connection, selection, limit)
        else:
            page = find_events(connection, selection, read_place(after) if after else BEGINNING, PAGE)
    yield page
    while page.has_more or follow:
        if not page.has_more:
            time.sleep(LOOK_EVERY_S)
        with database.read() as connection:
            page = find_events(connection, selection, page.place, PAGE)
        yield page
