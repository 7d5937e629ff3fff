"""A length of time as an option of a command."""

import re
from datetime import timedelta
from typing import Any

import click

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


class Duration(click.ParamType[timedelta]):
    """A length of time as 90d, 24h or 30m; 0 is none."""

    name = "90d|24h|30m"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the length."""
        if isinstance(value, timedelta):
            return value
        if value == "0":
            return timedelta()
        found = re.fullmatch(r"([0-9]{1,5})([mhd])", value)
        if not found:
            self.fail(f"{value}: {self.name}", param, ctx)
        return int(found[1]) * _UNITS[found[2]]
