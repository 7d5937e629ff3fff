"""What OpenAPI cannot say of our API, so that Schemathesis' valid requests are valid."""

from typing import Any

import schemathesis
from schemathesis import Case, GenerationMode, HookContext


@schemathesis.hook  # type: ignore[untyped-decorator]  # mypy skips all of Schemathesis
def before_call(context: HookContext, case: Case[Any], kwargs: object) -> None:  # noqa: ARG001
    """Mend a request that is meant to be valid; let none wait for a worker that is not there."""
    case.headers.pop("Prefer", None)
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    case.query.pop("cursor", None)  # only a list gives one
    body: Any = case.body
    if isinstance(body, dict) and {"amount", "order_total"} <= body.keys():
        body["order_total"] = max(body["amount"], body["order_total"])
