"""What the description says of API keys: each operation says which scope it needs, and nothing is ignored."""

from typing import Any

import pytest

from described import description, resolve
from payment.core.settings import SettingsError
from payment.web.specification import refuse_security, scopes_of

OPEN = {"payment.health.live", "payment.health.ready"}
ANY_KEY = {"payment.api.get_caller"}
"""What a key is needed for, whatever that is good for."""
METHODS = {"get", "put", "post", "patch", "delete", "head", "options", "trace"}
SCHEMES = {
    "apiKey": {"type": "http", "scheme": "Bearer", "x-scopes": {"read": "", "write": ""}},
    "token": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic", "x-scopes": {"read": ""}},
    "header": {"type": "apiKey", "in": "header", "name": "X-Key", "x-scopes": {"read": ""}},
}
READ: dict[str, Any] = {"apiKey": ["read"]}
Security = list[dict[str, list[str]]]


def described(security: Security | None, of_all: Security | None = None) -> dict[str, Any]:
    """Return a description whose PATCH /payments has this security; its GET is open."""
    patch = {} if security is None else {"security": security}
    paths = {"/payments": {"summary": "", "get": {"security": list[Any]()}, "patch": patch}}
    whole = {"paths": paths, "components": {"securitySchemes": SCHEMES}}
    return whole | ({} if of_all is None else {"security": of_all})


def refusal(description: dict[str, Any], *, asks_for_keys: bool) -> list[str]:
    try:
        refuse_security(description, asks_for_keys=asks_for_keys)
    except SettingsError as error:
        return error.problems["OPENAPI_FILE"]
    return []


def operations() -> dict[str, dict[str, Any]]:
    """Return our operations by their operationId."""
    return {
        operation["operationId"]: operation
        for path in description()["paths"].values()
        for method, operation in path.items()
        if method in METHODS
    }


@pytest.mark.parametrize("name", operations())
def test_every_operation_says_which_scope_it_needs_and_it_is_one_that_keys_have(name: str) -> None:
    security = operations()[name]["security"]
    if name in OPEN:
        assert security == []
        return
    ((scheme, scopes),) = security[0].items()
    if name in ANY_KEY:
        assert security == [{"apiKey": []}]
        return
    assert (len(security), scheme, len(scopes)) == (1, "apiKey", 1)
    assert scopes[0] in description()["components"]["securitySchemes"]["apiKey"]["x-scopes"]


def test_the_scopes_that_a_key_may_be_given_are_those_of_the_scheme() -> None:
    """OpenAPI cannot make an `enum` of what stands elsewhere."""
    assert description()["components"]["schemas"]["Scope"]["enum"] == list(scopes_of(description()))


@pytest.mark.parametrize(("scope", "meaning"), scopes_of(description()).items())
def test_every_scope_is_explained_in_both_languages(scope: str, meaning: str) -> None:
    indonesian, english = meaning.split(" / ")
    assert indonesian != english != scope


@pytest.mark.parametrize("asks_for_keys", [False, True])
def test_our_own_description_may_be_served(asks_for_keys: bool) -> None:  # noqa: FBT001  # a parameter
    assert refusal(resolve(description()), asks_for_keys=asks_for_keys) == []


@pytest.mark.parametrize("asks_for_keys", [False, True])
@pytest.mark.parametrize("security", [[], [{}], [READ], [{"apiKey": ["read", "write"]}]], ids=str)
def test_what_is_checked_here_may_be_asked(security: Security, asks_for_keys: bool) -> None:  # noqa: FBT001  # a parameter
    assert refusal(described(security), asks_for_keys=asks_for_keys) == []
    assert refusal(described(None, security or [{}]), asks_for_keys=asks_for_keys) == []


@pytest.mark.parametrize("asks_for_keys", [False, True])
@pytest.mark.parametrize(
    "security",
    [
        [{"apiKey": ["fly"]}],
        [{"apiKey": ["read", "fly"]}],
        [{"token": []}],
        [{"basic": ["read"]}],
        [{"header": ["read"]}],
        [{"unknown": []}],
        [{}, READ],
        [READ, {"apiKey": ["write"]}],
        [READ | {"token": []}],
    ],
    ids=str,
)
@pytest.mark.parametrize("place", ["security", "PATCH /payments"])
def test_what_nothing_here_checks_is_refused(
    place: str,
    security: Security,
    asks_for_keys: bool,  # noqa: FBT001  # a parameter
) -> None:
    """It would be ignored in silence."""
    is_for_all = place == "security"
    given = described([], security) if is_for_all else described(security)
    (said,) = refusal(given, asks_for_keys=asks_for_keys)
    assert said.count(f"({place})") == 2, "in both languages"


def test_with_keys_an_operation_must_say_something() -> None:
    assert refusal(described(None), asks_for_keys=False) == []
    (said,) = refusal(described(None), asks_for_keys=True)
    assert said.count("(PATCH /payments)") == 2, "in both languages"
