"""The description that OPENAPI_FILE names: read quickly, refused if it promises what nothing here keeps."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from connexion.http_facts import METHODS

from payment.core.settings import SettingsError

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a seventh of the time, where it was built


def read_specification(file: Path) -> Any:
    """Return what the file holds; Connexion judges whether that is OpenAPI."""
    return yaml.load(file.read_bytes(), _Loader)  # noqa: S506  # as safe


def refuse_security(specification: Mapping[str, Any]) -> None:
    """Let a description pass that asks for no API key or other proof of who calls.

    Connexion's security middleware is not among ours: without this, `security:` would be ignored in silence.

    Args:
        specification: the description, its references resolved.

    Raises:
        SettingsError: the description, or one of its operations, asks for such a proof.
    """
    places = [place for place, asked in _securities(specification) if any(asked or ())]
    if places:
        said = (
            f"meminta `security` yang tidak diperiksa siapa pun di sini ({', '.join(places)}) / "
            f"asks for `security`, which nothing here checks ({', '.join(places)})"
        )
        raise SettingsError({"OPENAPI_FILE": [said]})


def _securities(specification: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each place that may ask for security, and what it asks: `{}` among the choices is nothing."""
    yield "security", specification.get("security")
    for path, methods in specification.get("paths", {}).items():
        for method in METHODS & methods.keys():
            yield f"{method.upper()} {path}", methods[method].get("security")
