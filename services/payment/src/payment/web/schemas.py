"""Marshmallow schemas: what a body may be, how an answer looks.

`openapi/payment.yaml` names the schema of each request body (`x-marshmallow`); a Hypothesis test holds the
two against each other from both sides.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Self

from marshmallow import EXCLUDE, Schema, ValidationError, fields, missing

from payment.core import api_key
from payment.core.errors import PaymentError
from payment.core.neighbours import NEIGHBOURS
from payment.core.states import FAILED, Method, Resolution, State, Status
from payment.core.units import WHOLE_NUMBER_MAX, read_time, rfc_3339
from payment.web.http_errors import BodyNotObject, FieldInvalid, FieldRequired, FieldsRequired

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
_REQUIRED = "required"

OVERLAP_S = 24 * 3600
OVERLAP_MAX_S = 30 * OVERLAP_S
"""For how long a key that was rotated is still good: a day if it is not said, a month at most."""


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


class BodySchema(Schema):
    """A request body. Unknown fields are ignored: a tolerant reader."""

    class Meta:
        unknown = EXCLUDE

    @classmethod
    def described_by(cls, schema: Mapping[str, Any]) -> Self:
        """Return the schema that reads what this OpenAPI schema describes."""
        del schema  # most need not be told
        return cls()

    def read(self, body: Any) -> Mapping[str, Any]:
        """Return the validated fields of a parsed body.

        Raises:
            FieldsRequired: of POST /payments a required field is missing or null, or there is no body.
            FieldRequired: the same of another body.
            BodyNotObject: it is not a JSON object.
            FieldInvalid: names the first field, in the schema's order, that is wrong.
        """
        if body is None and any(field.required for field in self.fields.values()):
            body = {}  # null: refused as one in which they are missing
        if not isinstance(body, dict):
            raise BodyNotObject
        plain = self.load_plain(body)
        if plain is not None:
            return plain
        try:
            fields_read: Mapping[str, Any] = self.load(body)
        except ValidationError as error:
            raise self._refusal(error.messages_dict) from None
        return fields_read

    def load_plain(self, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return what `load` does of a body in which nothing is wrong, in a sixth of its time; else None.

        The fields judge alike here and there. What Marshmallow says of wrong ones is `load`'s.
        """
        read = {}
        for name, field in self.fields.items():
            value = body.get(name, missing)
            if value is not missing:
                try:
                    read[name] = field._deserialize(value, name, body)  # noqa: SLF001  # ours: see above
                except ValidationError:
                    return None
            elif field.required:
                return None
            elif field.load_default is not missing:
                read[name] = field.load_default
        return read

    def _refusal(self, messages: Mapping[str, list[str]]) -> PaymentError:
        missing = [name for name in self.fields if _REQUIRED in messages.get(name, ())]
        if missing:
            return self.refuse_missing(missing[0])
        name = next(name for name in self.fields if name in messages)
        field = self.fields[name]
        assert isinstance(
            field, WholeNumber | Choice | Text | ClientName | ProviderReference | Scopes | Moment
        )
        return FieldInvalid(field=name, rule=field.rule, **field.facts)

    def refuse_missing(self, name: str) -> PaymentError:
        """Return the refusal of a body without this required field."""
        return FieldRequired(field=name)


_MISSING: dict[str, Any] = {"required": _REQUIRED, "null": _REQUIRED}


def _required() -> WholeNumber:
    return WholeNumber(required=True, error_messages=_MISSING)


class NewPayment(BodySchema):
    """The body of POST /payments."""

    order_id = _required()
    user_id = _required()
    amount = _required()
    method = Choice(Method, load_default=Method.CASH.value)
    # no default: a key kept before these fields were known stays good for the same body
    status = Choice((Status.PAID, Status.PENDING))
    order_total = WholeNumber()
    reference = ProviderReference()
    expires_at = Moment()

    def refuse_missing(self, name: str) -> PaymentError:
        """Name all three, in the words that callers have always been told."""
        del name
        return FieldsRequired()


class Settlement(BodySchema):
    """The body of PATCH /payments/{payment_id}."""

    status = Choice((Status.PAID, Status.FAILED), required=True, error_messages=_MISSING)
    reference = ProviderReference()


class NewRefund(BodySchema):
    """The body of POST /payments/{payment_id}/refunds; no body is an empty one."""

    amount = WholeNumber()
    reason = Text()
    expected_refunded = WholeNumber(minimum=0)
    reference = ProviderReference()


class LateResolution(BodySchema):
    """The body of POST /payments/{payment_id}/late."""

    resolution = Choice(Resolution, required=True, error_messages=_MISSING)
    reference = ProviderReference()


class Retry(BodySchema):
    """The body of POST /notifications/retry: which dead ones; no body, or null, is an empty one."""

    service = Choice(NEIGHBOURS)
    cause = Choice(FAILED)
    state = Choice([State.DEAD])

    def read(self, body: Any) -> Mapping[str, Any]:
        """See `BodySchema.read`."""
        return super().read({} if body is None else body)


class NewKey(BodySchema):
    """The body of POST /keys. Which scopes there are, its OpenAPI schema says."""

    client = ClientName(required=True, error_messages=_MISSING)
    scopes = Scopes(required=True, error_messages=_MISSING)
    expires_at = Moment()

    @classmethod
    def described_by(cls, schema: Mapping[str, Any]) -> Self:
        """Return the schema that knows the scopes of the description."""
        made = cls()
        scopes = made.fields["scopes"]
        assert isinstance(scopes, Scopes)
        scopes.choices = schema["properties"]["scopes"]["items"]["enum"]
        return made


class KeyRotation(BodySchema):
    """The body of POST /keys/{key_id}/rotate; no body, or null, is an empty one."""

    overlap_s = WholeNumber(minimum=0, maximum=OVERLAP_MAX_S, load_default=OVERLAP_S)

    def read(self, body: Any) -> Mapping[str, Any]:
        """See `BodySchema.read`."""
        return super().read({} if body is None else body)
