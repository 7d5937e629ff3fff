"""One interaction of a contract: a call, and what is relied on in its answer.

A matcher is there because the caller reads that value; what nobody reads is not there (docs/decisions/0011).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pact import Pact, match

JSON = "application/json"
JSON_TYPE = match.regex(JSON, regex=r"(?i)^application/([^;\s]+\+)?json\s*(;.*)?$")
SUCCESS = {"status": {"$": {"matchers": [{"match": "statusCode", "status": "success"}]}}}


@dataclass(frozen=True)
class Interaction:
    """One call and its answer, as the contract states it.

    Attributes:
        description: says what we do, unique in the contract.
        state: what must be true of the provider before, as a sentence.
        parameters: the values of that sentence; a provider may put its own ids in their place.
        method: the HTTP method.
        path: with the parameters' names in braces.
        request: the JSON body that we send, None for none.
        status: the answer's status code.
        answer: what is read of the answer's JSON body; None if nothing is.
        answer_type: its media type; for JSON any kind of JSON will do.
        call: makes the call; raises AssertionError unless it does what it must with this answer.
        any_success: any 2xx will do.
        reads: what reads the answer, where `call` is any HTTP client; raises if it cannot.
        query: what the path's query asks for.
    """

    description: str
    state: str
    parameters: Mapping[str, int | str]
    method: str
    path: str
    request: Mapping[str, Any] | None
    status: int
    answer: Any
    call: Callable[[str], None]
    answer_type: str = JSON
    any_success: bool = False
    reads: Callable[[Any], None] | None = None
    request_headers: Mapping[str, Any] = field(default_factory=dict)
    request_generators: Mapping[str, Any] = field(default_factory=dict)
    answer_headers: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)

    def declare(self, pact: Pact) -> None:
        """Add it to a contract."""
        path = self.path.format(**self.parameters)
        interaction = pact.upon_receiving(self.description).given(self.state, **self.parameters)
        interaction.with_request(self.method, path)
        for name, value in self.query.items():
            interaction.with_query_parameter(name, value)
        generators: dict[str, Any] = dict(self.request_generators)
        if "{" in self.path:
            generators["path"] = {
                "type": "ProviderState",
                "dataType": "STRING",
                "expression": self.path.replace("{", "${"),
            }
        if generators:
            interaction.with_generators(generators, "Request")
        for name, value in self.request_headers.items():
            interaction.with_header(name, value)
        if self.request is not None:
            interaction.with_body(dict(self.request), JSON)
        interaction.will_respond_with(self.status)
        for name, value in self.answer_headers.items():
            interaction.with_header(name, value)
        if self.any_success:
            interaction.with_matching_rules(SUCCESS, "Response")
        if self.answer is not None:
            is_json = self.answer_type == JSON
            interaction.with_header("Content-Type", JSON_TYPE if is_json else self.answer_type)
            body = dict(self.answer) if isinstance(self.answer, Mapping) else self.answer
            interaction.with_body(body, self.answer_type)
