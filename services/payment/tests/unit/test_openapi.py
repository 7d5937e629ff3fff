"""openapi/*.yaml, the truth: it names functions that exist, answers that happen, examples that are valid."""

import inspect
import re
import warnings
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from http import HTTPStatus
from typing import Any

import pytest
from jsonschema import Draft4Validator

from described import description, resolve
from payment.core import errors
from payment.core.errors import PaymentError
from payment.web import fields, http_errors, schemas
from payment.web.messages import INDONESIAN, translate
from payment.web.schemas import BodySchema

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Connexion and what it loads warn of one another while they load
    from connexion.exceptions import InvalidSpecification
    from connexion.spec import Specification

    from payment.web.app import OPERATIONS, find_operation

DOCUMENTS = ["payment", "order", "user"]
METHODS = {"get", "put", "post", "patch", "delete", "head", "options", "trace"}

# What a caller of each operation must be prepared for. A new operation or refusal comes in here too.
READS = {400, 401, 403, 405, 421, 431, 500, 503}
BODIES = {408, 413, 415}
WRITES = READS | BODIES | {409, 422}
REFUSALS = {
    "payment.api.get_daily_report": READS | {410},
    "payment.api.get_hourly_report": READS | {410},
    "payment.api.create_payment": WRITES,
    "payment.api.list_payments": READS,
    "payment.api.get_payment": READS | {404},
    "payment.api.settle_payment": WRITES | {404},
    "payment.api.get_late_money": READS | {404},
    "payment.api.resolve_late_money": WRITES | {404},
    "payment.api.create_refund": WRITES | {404},
    "payment.api.list_refunds": READS | {404},
    "payment.api.list_all_refunds": READS,
    "payment.api.get_refund": READS | {404},
    "payment.api.get_bill": READS | {404},
    "payment.api.list_bills": READS,
    "payment.api.list_payment_notifications": READS | {404},
    "payment.api.list_payment_events": READS | {404, 410},
    "payment.api.list_events": READS | {410},
    "payment.api.list_notifications": READS,
    "payment.api.retry_notification": READS | {404, 409},
    "payment.api.retry_notifications": READS | BODIES,
    "payment.api.list_neighbours": READS,
    "payment.api.list_reconciliations": READS,
    "payment.api.create_reconciliation": READS | BODIES | {409},
    "payment.api.get_reconciliation": READS | {404},
    "payment.api.list_findings": READS | {404},
    "payment.api.cancel_reconciliation": READS | {404},
    "payment.api.list_keys": READS,
    "payment.api.create_key": WRITES,
    "payment.api.get_key": READS | {404},
    "payment.api.rotate_key": WRITES | {404},
    "payment.api.revoke_key": READS | {404},
    "payment.api.get_caller": READS - {403},
    "payment.api.show_metrics": READS,
    "payment.health.live": {405},
    "payment.health.ready": {405, 503},
}

# The headers of a successful answer that a caller acts on; True if every such answer has it.
REPLAYED = {"Idempotency-Replayed": False}
BROUGHT = {
    ("payment.api.create_payment", "201"): {"Location": True, "Preference-Applied": False} | REPLAYED,
    ("payment.api.settle_payment", "200"): REPLAYED,
    ("payment.api.resolve_late_money", "200"): REPLAYED,
    ("payment.api.create_refund", "201"): {"Location": True} | REPLAYED,
    ("payment.api.create_key", "201"): {"Location": True},
    ("payment.api.rotate_key", "201"): {"Location": True},
    ("payment.api.get_daily_report", "200"): {"Content-Disposition": False},
    ("payment.api.list_payments", "200"): {"Link": False, "Content-Disposition": False},
    ("payment.api.list_notifications", "200"): {"Link": False},
    ("payment.api.list_all_refunds", "200"): {"Link": False},
    ("payment.api.list_bills", "200"): {"Link": False},
    ("payment.api.create_reconciliation", "202"): {"Location": True},
    ("payment.api.list_findings", "200"): {"Link": False},
    ("payment.api.list_events", "200"): {"Link": False, "Preference-Applied": False},
    ("payment.api.list_payment_events", "200"): {"Link": False},
}

ERRORS = [
    error
    for error in (vars(errors) | vars(http_errors)).values()
    if isinstance(error, type) and issubclass(error, PaymentError) and error is not PaymentError
]


@cache
def resolved(name: str) -> Any:
    return resolve(description(name), name)


def operations(name: str) -> dict[str, dict[str, Any]]:
    """Return the operations of a document by their operationId."""
    return {
        operation["operationId"]: operation
        for path in resolved(name)["paths"].values()
        for method, operation in path.items()
        if method in METHODS
    }


def examples(node: Any, at: str) -> Iterator[tuple[str, Any, Any]]:
    """Find every example below a node: where it is, its schema, its value."""
    if isinstance(node, list):
        for position, item in enumerate(node):
            yield from examples(item, f"{at}/{position}")
    if not isinstance(node, dict):
        return
    schema = node.get("schema", node if "type" in node or "allOf" in node else None)
    if schema is not None and "example" in node:
        yield at, schema, node["example"]
    if "schema" in node:
        for name, listed in node.get("examples", {}).items():
            yield f"{at}/{name}", schema, listed["value"]
    for name, value in node.items():
        if name not in {"example", "examples"}:
            yield from examples(value, f"{at}/{name}")


EXAMPLES = [found for name in DOCUMENTS for found in examples(resolved(name), name)]


def test_ours_is_openapi_which_a_start_does_not_look_into() -> None:
    load: Any = Specification.from_dict  # Connexion ships no types
    ours = deepcopy(description())
    load(ours)
    del ours["info"]["title"]
    with pytest.raises(InvalidSpecification):
        load(ours)


@pytest.mark.parametrize("name", operations("payment"))
def test_every_operation_is_a_coroutine_function_that_takes_a_request(name: str) -> None:
    handler = find_operation(name)
    assert inspect.iscoroutinefunction(handler)
    assert list(inspect.signature(handler).parameters) == ["request"]


def test_every_operation_has_its_function() -> None:
    for name in operations("payment"):
        assert inspect.iscoroutinefunction(find_operation(name))
    assert {name.rpartition(".")[0] for name in operations("payment")} == OPERATIONS.keys()


def test_an_operation_that_no_function_or_several_are_named_for_is_not_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Connexion catches this error and says which operationId it is."""
    with pytest.raises(AttributeError):
        find_operation("payment.api.burn_payment")
    monkeypatch.setitem(OPERATIONS, "payment.api", OPERATIONS["payment.api"] * 2)
    with pytest.raises(AttributeError):
        find_operation("payment.api.create_payment")


def test_every_public_coroutine_of_these_modules_is_an_operation() -> None:
    """An endpoint that the specification does not know is one that nobody can reach."""
    functions = {
        f"{prefix}.{name}"
        for prefix, modules in OPERATIONS.items()
        for module in modules
        for name, function in vars(module).items()
        if inspect.iscoroutinefunction(function) and not name.startswith("_")
    }
    assert functions == set(operations("payment"))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_two_operations_have_the_same_name(name: str) -> None:
    names = [
        operation["operationId"]
        for path in description(name)["paths"].values()
        for method, operation in path.items()
        if method in METHODS
    ]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", operations("payment"))
def test_what_an_operation_may_refuse_with_is_documented_and_no_more(name: str) -> None:
    documented = {int(status) for status in operations("payment")[name]["responses"]}
    assert {status for status in documented if status >= 400} == REFUSALS[name]


@pytest.mark.parametrize(
    "error", [e for e in ERRORS if e is not http_errors.HttpRefused], ids=lambda e: e.__name__
)
def test_the_status_of_every_error_is_documented_somewhere(error: type[PaymentError]) -> None:
    assert error.status in set().union(*REFUSALS.values())


@pytest.mark.parametrize("status", sorted(set().union(*REFUSALS.values())))
def test_every_documented_refusal_is_the_status_of_an_error(status: int) -> None:
    assert status in {error.status for error in ERRORS}


@pytest.mark.parametrize("name", [name for name in operations("payment") if "health" not in name])
def test_every_refusal_comes_as_error_and_as_problem(name: str) -> None:
    """Every error, from any layer, is `{"error": …}`, and RFC 9457 where that is asked for.

    (The 503 of /readyz is an answer, not an error.)
    """
    components = resolved("payment")["components"]["schemas"]
    for status, response in operations("payment")[name]["responses"].items():
        if int(status) >= 400:
            content = response["content"]
            assert content["application/json"]["schema"] == components["Error"], status
            assert content["application/problem+json"]["schema"] == components["Problem"], status


@pytest.mark.parametrize(
    ("status", "header"), [("401", "WWW-Authenticate"), ("405", "Allow"), ("503", "Retry-After")]
)
def test_a_header_that_a_refusal_brings_is_documented(status: str, header: str) -> None:
    response = operations("payment")["payment.api.create_payment"]["responses"][status]
    assert response["headers"][header]["required"]


@pytest.mark.parametrize("name", operations("payment"))
def test_the_headers_that_a_successful_answer_brings_are_documented_and_no_more(name: str) -> None:
    for status, response in operations("payment")[name]["responses"].items():
        if int(status) >= 400:
            continue
        headers = response.get("headers", {})
        assert all(header["description"] for header in headers.values())
        always = {header: what.get("required", False) for header, what in headers.items()}
        assert always == BROUGHT.get((name, status), {}), status


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 40
    assert {at.partition("/")[0] for at, _, _ in EXAMPLES} == set(DOCUMENTS)


@pytest.mark.parametrize(("at", "schema", "value"), EXAMPLES, ids=[at for at, _, _ in EXAMPLES])
def test_every_example_is_valid(at: str, schema: Any, value: Any) -> None:
    Draft4Validator.check_schema(schema)
    assert list(Draft4Validator(schema).iter_errors(value)) == [], at


def is_said(words: str) -> bool:
    """Say whether an error of ours has these Indonesian words, whatever its facts are."""
    rules = [value for name, value in vars(fields).items() if name.startswith("MUST_BE_")]
    messages = [*rules, *(error.message for error in ERRORS)]
    messages.remove(http_errors.FieldInvalid.message)  # "{field} {rule}" would let anything pass
    field_and_rule = words.partition(" ")[2]
    for message in messages:
        pattern = re.sub(r"\\\{\w+\\\}", ".+", re.escape(translate(message, INDONESIAN)))
        if re.fullmatch(pattern, words) or re.fullmatch(pattern, field_and_rule):
            return True
    return False


SHOWN = [v for at, _, v in EXAMPLES if at.startswith("payment/") and isinstance(v, dict)]
OF_ERRORS = [value["error"] for value in SHOWN if set(value) == {"error"}]
PROBLEMS = [value for value in SHOWN if "detail" in value]


@pytest.mark.parametrize("words", [*OF_ERRORS, *(problem["detail"] for problem in PROBLEMS)])
def test_every_error_in_an_example_is_one_that_the_service_says(words: str) -> None:
    assert is_said(words)


def test_what_nobody_says_is_not_said() -> None:
    assert OF_ERRORS
    assert PROBLEMS
    assert not is_said("amount tidak boleh kosong")


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem["type"])
def test_every_problem_in_an_example_is_one_of_ours(problem: dict[str, Any]) -> None:
    known = {f"urn:payment:problem:{error.code}": error.status for error in ERRORS}
    assert known[problem["type"]] == problem["status"]
    assert problem["title"] == HTTPStatus(problem["status"]).phrase


def test_the_code_of_every_error_fits_the_documented_pattern() -> None:
    pattern = resolved("payment")["components"]["schemas"]["Problem"]["properties"]["type"]["pattern"]
    for error in ERRORS:
        assert re.search(pattern, f"urn:payment:problem:{error.code}")


@pytest.mark.parametrize(
    "name", [name for name, operation in operations("payment").items() if "requestBody" in operation]
)
def test_every_request_body_names_the_marshmallow_schema_that_reads_it(name: str) -> None:
    schema = operations("payment")[name]["requestBody"]["content"]["application/json"]["schema"]
    reader = getattr(schemas, schema["x-marshmallow"])
    assert issubclass(reader, BodySchema)
    assert set(reader().fields) == set(schema["properties"])
    required = {field for field, how in reader().fields.items() if how.required}
    assert required == set(schema.get("required", []))


def test_some_request_body_is_described() -> None:
    assert any("requestBody" in operation for operation in operations("payment").values())


@pytest.mark.parametrize("name", operations("payment"))
def test_a_link_leads_to_an_operation_and_its_parameters(name: str) -> None:
    known = operations("payment")
    for response in known[name]["responses"].values():
        for link in response.get("links", {}).values():
            parameters = {parameter["name"] for parameter in known[link["operationId"]]["parameters"]}
            assert set(link["parameters"]) <= parameters


@pytest.mark.parametrize("name", operations("payment"))
def test_path_and_parameters_agree(name: str) -> None:
    path = next(
        path
        for path, methods in resolved("payment")["paths"].items()
        if any(isinstance(o, dict) and o.get("operationId") == name for o in methods.values())
    )
    parameters = operations("payment")[name].get("parameters", [])
    in_path = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
    assert in_path == set(re.findall(r"\{(\w+)\}", path))
    assert all(parameter["required"] for parameter in parameters if parameter["in"] == "path")


@pytest.mark.parametrize("name", operations("payment"))
def test_what_need_not_be_sent_has_no_example(name: str) -> None:
    """*Try it out* of /docs fills in each example: a filter that finds nothing, a key used before."""
    for parameter in operations("payment")[name].get("parameters", []):
        has_example = "example" in parameter or "example" in parameter["schema"]
        assert not has_example or parameter["required"], parameter["name"]
