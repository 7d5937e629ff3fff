"""Marshmallow schemas: what a body may be, how an answer looks.

`openapi/payment.yaml` names the schema of each request body (`x-marshmallow`); a Hypothesis test holds the
two against each other from both sides.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields

from payment.errors import BodyNotObject, FieldInvalid, FieldsRequired, PaymentError
from payment.lifecycle import Method
from payment.tables import WHOLE_NUMBER_MAX

MUST_BE_WHOLE = "must be a whole number from {minimum} to {maximum}"
MUST_BE_ONE_OF = "must be one of: {choices}"
_REQUIRED = "required"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class WholeNumber(fields.Field[int]):
    """An integer from 1 to 2**53 - 1. JSON's 20000.0 is the integer 20000; true and "1" are none."""

    rule = MUST_BE_WHOLE

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.facts = {"minimum": 1, "maximum": WHOLE_NUMBER_MAX}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 1 <= value <= WHOLE_NUMBER_MAX or value != int(value):  # NaN fails the 2nd
            raise ValidationError(self.rule)
        return int(value)


class Choice(fields.Field[str]):
    """One of a few words.

    Args:
        words: an enumeration of them.
    """

    rule = MUST_BE_ONE_OF

    def __init__(self, words: type[StrEnum], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.choices = [word.value for word in words]
        self.facts = {"choices": ", ".join(self.choices)}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if not isinstance(value, str) or value not in self.choices:
            raise ValidationError(self.rule)
        return value


class Timestamp(fields.Field[int]):
    """Microseconds since the epoch, written as RFC 3339 UTC."""

    def _serialize(self, value: int | None, *_: Any, **__: Any) -> str | None:
        if value is None:
            return None
        moment = _EPOCH + timedelta(microseconds=value)
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


class BodySchema(Schema):
    """A request body. Unknown fields are ignored: a tolerant reader."""

    class Meta:
        unknown = EXCLUDE

    def read(self, body: Any) -> Mapping[str, Any]:
        """Return the validated fields of a parsed body; None is no body.

        Raises:
            FieldsRequired: a required field is missing or null, or there is no body.
            BodyNotObject: it is not a JSON object.
            FieldInvalid: names the first field, in the schema's order, that is wrong.
        """
        if body is None:
            raise FieldsRequired
        if not isinstance(body, dict):
            raise BodyNotObject
        try:
            fields_read: Mapping[str, Any] = self.load(body)
        except ValidationError as error:
            raise self._refusal(error.messages_dict) from None
        return fields_read

    def _refusal(self, messages: Mapping[str, list[str]]) -> PaymentError:
        if any(_REQUIRED in said for said in messages.values()):
            return FieldsRequired()
        name = next(name for name in self.fields if name in messages)
        field = self.fields[name]
        assert isinstance(field, WholeNumber | Choice)
        return FieldInvalid(field=name, rule=field.rule, **field.facts)


def _required() -> WholeNumber:
    return WholeNumber(required=True, error_messages={"required": _REQUIRED, "null": _REQUIRED})


class NewPayment(BodySchema):
    """The body of POST /payments."""

    order_id = _required()
    user_id = _required()
    amount = _required()
    method = Choice(Method, load_default=Method.CASH.value)


class PaymentAnswer(Schema):
    """A payment as GET shows it."""

    id = fields.Integer()
    order_id = fields.Integer()
    user_id = fields.Integer()
    amount = fields.Integer()
    status = fields.String()
    method = fields.String()
    amount_refunded = fields.Integer()
    created_at = Timestamp(attribute="created_us")
    updated_at = Timestamp(attribute="updated_us")


class NotificationAnswer(Schema):
    """A notification as operators see it."""

    id = fields.Integer()
    service = fields.String()
    target_id = fields.Integer()
    payment_id = fields.Integer()
    state = fields.String()
    told = fields.String()
    attempts = fields.Integer()
    next_attempt_at = Timestamp(attribute="next_attempt_us")
    last_error = fields.String()
    created_at = Timestamp(attribute="created_us")
    settled_at = Timestamp(attribute="settled_us")
