"""`payment restored`: after a backup was put back."""

import dataclasses
import json

import click

from payment.cli.opening import now_us, opened
from payment.cli.text_table import lines_of
from payment.core.settings import Settings
from payment.core.units import WHOLE_NUMBER_MAX
from payment.ledger.restoring import NoRoom, TooLow, go_on_after_restore

COLUMNS = ("table", "last_id", "above")


@click.command()
@click.option(
    "--next-id-above",
    type=click.IntRange(1, WHOLE_NUMBER_MAX),
    help="Nomor pembayaran terbesar yang pernah diberikan, bila diketahui / "
    "the largest id that a payment ever got, if that is known.",
)
@click.option("--json", "as_json", is_flag=True, help="Satu objek JSON / one JSON object.")
@click.pass_obj
def restored(settings: Settings, *, next_id_above: int | None, as_json: bool) -> None:
    """Cadangan sudah dipulihkan / a backup was restored: give no id twice.

    Run it before the service starts. Ids go on above all that may have been given since the backup was made,
    judged by the time that has passed. --next-id-above says it of payments, so that their ids stay small: the
    largest on a receipt, in a log or in what callers know.
    """
    try:
        went_on = go_on_after_restore(opened(settings), now_us(), next_id_above)
    except TooLow as error:
        raise click.UsageError(
            f"--next-id-above: salinannya punya pembayaran / the copy has payment {error}."
        ) from None
    except NoRoom as error:
        raise click.ClickException(
            f"{error}: nomornya habis / there are no larger ids; --next-id-above"
        ) from None
    if as_json:
        click.echo(
            json.dumps({each.table: {"last_id": each.last_id, "above": each.above} for each in went_on})
        )
        return
    rows = [tuple(str(value) for value in dataclasses.astuple(each)) for each in went_on]
    for line in lines_of([COLUMNS, *rows], aligned="<>>"):
        click.echo(line)
