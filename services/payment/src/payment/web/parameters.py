"""The parameters of path and query, each read by a validator that is built once."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from jsonschema import Draft4Validator

from payment.core.units import read_date, read_time
from payment.web import fields
from payment.web.http_errors import FieldInvalid


def read_whole_number(text: str) -> int | str:
    """Return the number that the text is, else the text."""
    return int(text) if re.fullmatch("[0-9]{1,16}", text) else text


def _read_time_or_date(text: str) -> int | date:
    return read_date(text) if len(text) == len("2026-01-31") else read_time(text)


class Parameter:
    """A parameter of path or query, its validator built once. Headers are read by their operations."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        self.name: str = definition["name"]
        schema = definition["schema"]
        self.default = schema.get("default")
        self._validator = Draft4Validator(schema)
        self._parse: Callable[[str], Any] = str
        self._refusal: dict[str, Any] = {"rule": fields.MUST_BE_VALID}
        if schema.get("type") == "integer":
            self._parse = read_whole_number
            limits = {"minimum": schema["minimum"], "maximum": schema["maximum"]}
            self._refusal = {"rule": fields.MUST_BE_WHOLE, **limits}
        elif schema.get("type") == "boolean":
            self._parse = lambda text: {"true": True, "false": False}.get(text, text)
            self._refusal = {"rule": fields.MUST_BE_ONE_OF, "choices": "true, false"}
        elif "enum" in schema:
            self._refusal = {"rule": fields.MUST_BE_ONE_OF, "choices": ", ".join(schema["enum"])}
        elif schema.get("format") == "date-time":
            self._parse, self._validator = read_time, Draft4Validator({})
            self._refusal = {"rule": fields.MUST_BE_TIME}
        elif schema.get("format") == "date":
            self._parse, self._validator = read_date, Draft4Validator({})
            self._refusal = {"rule": fields.MUST_BE_DATE}
        elif {each.get("format") for each in schema.get("anyOf", ())} == {"date-time", "date"}:
            self._parse, self._validator = _read_time_or_date, Draft4Validator({})
            self._refusal = {"rule": fields.MUST_BE_TIME_OR_DATE}

    def read(self, text: str) -> Any:
        """Return the parameter's value: a number, a word, yes or no, a date, or a time in microseconds.

        Raises:
            FieldInvalid: it is not what the specification says.
        """
        try:
            value = self._parse(text)
        except ValueError:
            raise FieldInvalid(field=self.name, **self._refusal) from None
        if not self._validator.is_valid(value):
            raise FieldInvalid(field=self.name, **self._refusal)
        return value

    def read_one_of(self, texts: Sequence[str]) -> Any:
        """Return the value of a parameter of the query, its default if it is not there.

        Raises:
            FieldInvalid: it is not what the specification says, or given more than once.
        """
        if not texts:
            return self.default
        if len(texts) > 1:
            raise FieldInvalid(field=self.name, rule=fields.MUST_BE_ONCE)
        return self.read(texts[0])
