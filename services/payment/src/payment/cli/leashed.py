"""The leash of a process that is supervised, where its command finds it."""

import click

from payment.supervision.leash import Leash

LEASH = "payment.leash"


def hold_leash(context: click.Context, descriptor: int) -> None:
    """Have this process end with its supervisor, to which this descriptor leads."""
    leash = context.meta[LEASH] = Leash(descriptor)
    leash.hold()


def held_leash() -> Leash | None:
    """Return the leash of this process; None if nobody supervises it."""
    leash: Leash | None = click.get_current_context().meta.get(LEASH)
    return leash
