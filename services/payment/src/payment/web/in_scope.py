"""What we keep in the scope of a request, beside what ASGI says, each under its name."""

REQUEST_ID = "request_id"
"""Its `X-Request-Id`, its caller's or one of ours; `problems` sets it."""

PREFIX = "prefix"
"""The path at which a proxy shows us, if it does not at `/`; `prefix` sets it."""

PLACE = "place"
"""Its `places.Place`; `problems` sets it."""

ARRIVAL = "arrival"
"""uvicorn's cycle of it, whose `more_body` says whether it is still arriving; `protocol` sets it."""

TRACE = "trace"
"""The `traceparent` in force for it; `headers.trace_in` makes it when somebody asks, `traces` before that."""

ROUTE = "route"
"""The path of its operation, as the description has it; `routing` sets it."""

OPERATION = "operation"
"""The function that its operationId names; `routing` sets it."""

CONTEXT = "connexion_context"
"""In `extensions`: what was read of it (`parameters`, `body`), and its `caller`."""

SIGNED_IN = "signed_in"
"""The id of the API key with which somebody has signed in at the console; only `inner_calls` sets it."""
