"""What OpenAPI cannot say of our API, so that Schemathesis' valid requests are valid."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import schemathesis
from schemathesis import Case, GenerationMode, HookContext


@schemathesis.hook  # type: ignore[untyped-decorator]  # mypy skips all of Schemathesis
def before_call(context: HookContext, case: Case[Any], kwargs: object) -> None:  # noqa: ARG001
    """Mend a request that is meant to be valid; let none wait for a worker that is not there."""
    case.headers.pop("Prefer", None)
    if case.path_parameters.get("key_id") == os.environ.get("OWN_KEY_ID"):  # which it finds in the list
        case.path_parameters["key_id"] = "R7mQ2xVb"  # it would revoke what it calls with
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    for name in ("cursor", "after"):  # only a list gives one
        case.query.pop(name, None)
    body: Any = case.body
    if isinstance(body, dict) and {"amount", "order_total"} <= body.keys():
        body["order_total"] = max(body["amount"], body["order_total"])
    if isinstance(body, dict) and {"expires_at", "scopes"} <= body.keys():
        body["expires_at"] = "2096" + body["expires_at"][4:]  # a time to come, in a leap year
    elif isinstance(body, dict) and "expires_at" in body:  # a payment's: soon, and it waits
        body["expires_at"] = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        body["status"] = "pending"
