"""Marshmallow schemas: what a body may be.

`openapi/payment.yaml` names the schema of each request body (`x-marshmallow`); a Hypothesis test holds the
two against each other from both sides.
"""

from collections.abc import Mapping
from typing import Any, Self

from marshmallow import EXCLUDE, Schema, ValidationError, missing

from payment.core.errors import PaymentError
from payment.core.neighbours import NEIGHBOURS
from payment.core.states import FAILED, Method, Resolution, State, Status
from payment.web.fields import (
    BodyField,
    Choice,
    ClientName,
    Day,
    Moment,
    ProviderReference,
    Scopes,
    Text,
    WholeNumber,
    YesNo,
)
from payment.web.http_errors import BodyNotObject, FieldInvalid, FieldRequired, FieldsRequired

_REQUIRED = "required"

OVERLAP_S = 24 * 3600
OVERLAP_MAX_S = 30 * OVERLAP_S
"""For how long a key that was rotated is still good: a day if it is not said, a month at most."""


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
        assert isinstance(field, BodyField)
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


class NewReconciliation(BodySchema):
    """The body of POST /reconciliations: what is compared; no body, or null, is an empty one."""

    since = Day()
    service = Choice(NEIGHBOURS)
    repair = YesNo(load_default=False)

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
