"""A day as an option of a command."""

from datetime import date
from typing import Any

import click

from payment.core.units import read_date


class Day(click.ParamType[date]):
    """A day as YYYY-MM-DD."""

    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Return the day."""
        try:
            return value if isinstance(value, date) else read_date(value)
        except ValueError:
            self.fail(f"{value}: YYYY-MM-DD", param, ctx)
