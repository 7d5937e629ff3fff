"""The fields of request bodies: what each kind may be, and the rule that a refusal names."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from marshmallow import ValidationError, fields

from payment.core import api_key
from payment.core.units import WHOLE_NUMBER_MAX, read_date, read_time, rfc_3339

MUST_BE_WHOLE = "must be a whole number from {minimum} to {maximum}"
MUST_BE_ONE_OF = "must be one of: {choices}"
MUST_BE_ONCE = "must be given once"
MUST_BE_TIME = "must be a time with its zone, for example 2026-01-31T12:34:56Z"
MUST_BE_TIME_OR_DATE = (
    "must be a time with its zone, for example 2026-01-31T12:34:56Z, or a date, for example 2026-01-31"
)
MUST_BE_DATE = "must be a date, for example 2026-01-31"
MUST_BE_TEXT = (
    "must be 1 to {max_chars} characters, not blanks alone, without control or direction characters"
)
MUST_BE_NAME = "must be 1 to {max_chars} letters, digits, dots, hyphens or underscores"
MUST_BE_REFERENCE = "must be 1 to {max_chars} visible ASCII characters"
MUST_BE_SOME_OF = "must be a list of some of these, each once: {choices}"
MUST_BE_TO_COME = "must be a time to come"
MUST_BE_VALID = "is not valid"


class WholeNumber(fields.Field[int]):
    """An integer. JSON's 20000.0 is the integer 20000; true and "1" are none.

    Args:
        minimum: the least that it may be.
        maximum: the most.
    """

    rule = MUST_BE_WHOLE

    def __init__(self, *, minimum: int = 1, maximum: int = WHOLE_NUMBER_MAX, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._minimum = minimum
        self._maximum = maximum
        self.facts = {"minimum": minimum, "maximum": maximum}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
        if (
            not is_number or not self._minimum <= value <= self._maximum or value != int(value)
        ):  # NaN fails the 2nd
            raise ValidationError(self.rule)
        return int(value)


class Choice(fields.Field[str]):
    """One of a few words.

    Args:
        words: all of them.
    """

    rule = MUST_BE_ONE_OF

    def __init__(self, words: Iterable[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.choices = [str(word) for word in words]
        self.facts = {"choices": ", ".join(self.choices)}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if not isinstance(value, str) or value not in self.choices:
            raise ValidationError(self.rule)
        return value


class Text(fields.Field[str]):
    """A line of text for people: they see all that it says, in the order in which it is stored.

    Attributes:
        pattern: what OpenAPI says of it (ECMA-262). It has no controls, ends of lines, or any of Unicode's
            Bidi_Control. Something in it can be seen, which White_Space and Default_Ignorable_Code_Point
            cannot; beside it those are welcome, as emoji and many scripts need them.
    """

    rule = MUST_BE_TEXT
    max_chars = 200
    _unwanted = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb"
    _unseen = (
        r" \xa0\xad\u034f\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200d\u202f\u205f-\u2065"
        r"\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
    )
    pattern = f"^[^{_unwanted}]*[^{_unwanted}{_unseen}][^{_unwanted}]*$"
    _pattern = re.compile(pattern)
    _half = re.compile(r"[\ud800-\udfff]")  # of a surrogate pair: no database can store it

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.facts = {"max_chars": self.max_chars}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        is_text = isinstance(value, str) and 1 <= len(value) <= self.max_chars
        if not is_text or not self._pattern.fullmatch(value) or self._half.search(value):
            raise ValidationError(self.rule)
        return str(value)


class ClientName(fields.Field[str]):
    """The name of a client: it stands in `<client>/<key id>`, beside `cli:<user>`."""

    rule = MUST_BE_NAME
    pattern = f"^{api_key.CLIENT_PATTERN}$"
    facts: Mapping[str, Any] = {"max_chars": api_key.CLIENT_MAX_CHARS}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if not isinstance(value, str) or not api_key.is_client_name(value):
            raise ValidationError(self.rule)
        return value


class ProviderReference(fields.Field[str]):
    """What a provider calls a payment or a refund."""

    rule = MUST_BE_REFERENCE
    max_chars = 64
    pattern = rf"^[\x21-\x7e]{{1,{max_chars}}}$"
    facts: Mapping[str, Any] = {"max_chars": max_chars}
    _pattern = re.compile(pattern)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if not isinstance(value, str) or not self._pattern.fullmatch(value):
            raise ValidationError(self.rule)
        return value


class Scopes(fields.Field[list[str]]):
    """What a key is to be good for: some of those that the description lists."""

    rule = MUST_BE_SOME_OF

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.choices: Sequence[str] = ()

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return what there is to choose from."""
        return {"choices": ", ".join(self.choices)}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[str]:
        is_some = isinstance(value, list) and value and all(scope in self.choices for scope in value)
        if not is_some or len(set(value)) < len(value):
            raise ValidationError(self.rule)
        return list(value)


class Moment(fields.Field[int]):
    """An RFC 3339 time, as microseconds since the epoch."""

    rule = MUST_BE_TIME
    facts: Mapping[str, Any] = {}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        try:
            time_us = read_time(value)
            rfc_3339(time_us)  # its zone may carry it beyond the years that can be written
        except (TypeError, ValueError, OverflowError):
            raise ValidationError(self.rule) from None
        return time_us


class Day(fields.Field[date]):
    """A calendar date."""

    rule = MUST_BE_DATE
    facts: Mapping[str, Any] = {}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> date:
        try:
            return read_date(value)
        except (TypeError, ValueError):
            raise ValidationError(self.rule) from None


class YesNo(fields.Field[bool]):
    """JSON's true or false; 1 and "true" are neither."""

    rule = MUST_BE_ONE_OF
    facts: Mapping[str, Any] = {"choices": "true, false"}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError(self.rule)
        return value


BodyField = WholeNumber | Choice | Text | ClientName | ProviderReference | Scopes | Moment | Day | YesNo
"""All of them: each says its `rule`, and the `facts` that are in its words."""
