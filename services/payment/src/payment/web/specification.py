"""The description that OPENAPI_FILE names: read quickly, refused if it promises what nothing here keeps."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from payment.core.settings import SettingsError

SCOPES = "x-scopes"
"""Where the security scheme lists what a key may be good for: OpenAPI 3.0 has no place of its own."""

_METHODS = frozenset({"get", "put", "post", "patch", "delete", "head", "options", "trace"})
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a seventh of the time, where it was built


def read_specification(file: Path) -> Any:
    """Return what the file holds; Connexion judges whether that is OpenAPI."""
    return yaml.load(file.read_bytes(), _Loader)  # noqa: S506  # as safe


def scopes_of(specification: Mapping[str, Any]) -> Mapping[str, str]:
    """Return what an API key may be good for, each scope with what it is for."""
    return {
        scope: str(meaning)
        for scheme in _key_schemes(specification).values()
        for scope, meaning in scheme[SCOPES].items()
    }


def scopes_by_operation(specification: Mapping[str, Any]) -> Mapping[str, tuple[str, ...]]:
    """Return the scopes that each operation asks for, by the last part of its operationId.

    Args:
        specification: the description, its references resolved, and let pass by `refuse_security`.
    """
    of_all = specification.get("security")
    return {
        operation["operationId"].rpartition(".")[2]: tuple(
            scope
            for each in operation.get("security", of_all) or ()
            for scopes in each.values()
            for scope in scopes
        )
        for methods in specification["paths"].values()
        for method, operation in methods.items()
        if method in _METHODS
    }


def refuse_security(specification: Mapping[str, Any], *, asks_for_keys: bool) -> None:
    """Let a description pass whose `security` is what is checked here.

    That is: none (`[]`), or one scheme, which is an API key's, with scopes that it lists. What is described
    in other ways would be ignored in silence.

    Args:
        specification: the description, its references resolved.
        asks_for_keys: whether API keys are asked for: then each operation must say which scopes it needs.

    Raises:
        SettingsError: names the operations that are described otherwise.
    """
    schemes = _key_schemes(specification)
    wrong: list[str] = []
    silent: list[str] = []
    for place, asked in _securities(specification):
        if asked is None:
            silent.append(place)
        elif not _is_checked(asked, schemes):
            wrong.append(place)
    said = []
    if wrong:
        said.append(
            f"meminta `security` yang tidak diperiksa siapa pun di sini ({', '.join(wrong)}) / "
            f"asks for `security`, which nothing here checks ({', '.join(wrong)})"
        )
    if silent and asks_for_keys:
        said.append(
            f"tidak mengatakan `security` apa yang berlaku ({', '.join(silent)}) / "
            f"does not say which `security` it has ({', '.join(silent)})"
        )
    if said:
        raise SettingsError({"OPENAPI_FILE": said})


def _key_schemes(specification: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the security schemes that stand for our API keys."""
    components = specification.get("components") or {}
    return {
        name: scheme
        for name, scheme in (components.get("securitySchemes") or {}).items()
        if (scheme.get("type"), str(scheme.get("scheme")).lower()) == ("http", "bearer") and SCOPES in scheme
    }


def _is_checked(asked: Any, schemes: Mapping[str, Any]) -> bool:
    """Say whether something here checks what `security` asks; alternatives, for one, nobody does."""
    if asked in ([], [{}]):
        return True
    if len(asked) > 1 or len(asked[0]) > 1:
        return False
    ((name, scopes),) = asked[0].items()
    return name in schemes and set(scopes) <= set(schemes[name][SCOPES])


def _securities(specification: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each operation, and the security that it asks for; None if nothing says which."""
    of_all = specification.get("security")
    if of_all:
        yield "security", of_all
    for path, methods in specification.get("paths", {}).items():
        for method in sorted(_METHODS & methods.keys()):
            yield f"{method.upper()} {path}", methods[method].get("security", of_all)
