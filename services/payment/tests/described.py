"""Every answer that a test gets from our service is held against openapi/payment.yaml."""

import functools
import re
from pathlib import Path
from typing import Any

import httpx
import yaml
from jsonschema import Draft4Validator

ROOT = Path(__file__).resolve().parents[3]
EVERYWHERE = {400, 403, 404, 405, 408, 421, 431, 503}
"""What the layers above an operation may answer to anything."""
API_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""What every answer of the API says to browsers."""


@functools.cache
def description(name: str = "payment") -> dict[str, Any]:
    """Return a parsed file of openapi/."""
    return parsed((ROOT / "openapi" / f"{name}.yaml").read_bytes())


def parsed(text: bytes) -> dict[str, Any]:
    """Return what a description in YAML says."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, Any] = yaml.load(text, loader)
    return found


def resolve(node: Any, name: str = "payment") -> Any:
    """Return a node with what each `$ref` names in its place, and `nullable` in JSON Schema's words."""
    if isinstance(node, list):
        return [resolve(item, name) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target: Any = description(name)
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return resolve(target, name)
    resolved = {key: resolve(value, name) for key, value in node.items()}
    if resolved.get("nullable") is True:
        resolved["type"] = [resolved["type"], "null"]
    return resolved


@functools.cache
def answers_of(method: str, path: str) -> dict[str, Any] | None:
    """Return the described answers of an operation, None if the description has no such path and method."""
    for template, operations in description()["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            operation = operations.get("get" if method == "HEAD" else method.lower())
            if operation:
                answers: dict[str, Any] = resolve(operation["responses"])
                return answers
    return None


def check(response: httpx.Response) -> None:
    """Fail if an answer is not as described; an `httpx` event hook."""
    request = response.request
    response.read()
    status, kind = str(response.status_code), response.headers.get("content-type", "")
    path = request.url.path
    if path.startswith(("/docs", "/openapi.")):
        return  # Connexion's own
    for name, value in API_HEADERS.items():
        assert response.headers.get_list(name) == [value], f"{request.method} {path} {status}: {name}"
    answers = answers_of(request.method, path) or {}
    if status not in answers:
        assert response.status_code in EVERYWHERE, f"{request.method} {path}: {status} is not described"
        answers = {status: resolve(description()["components"]["responses"]["Internal"])}
    described = answers[status]
    for name, header in described.get("headers", {}).items():
        is_sent = name.lower() in response.headers
        assert is_sent or not header.get("required"), f"{path} {status}: no {name} {header}"
    if request.method == "HEAD":
        return
    assert kind in described["content"], f"{path} {status}: {kind} is not described"
    schema = described["content"][kind]["schema"]
    if "json" not in kind:
        return
    errors = [error.message for error in Draft4Validator(schema).iter_errors(response.json())]
    assert not errors, f"{request.method} {path} {status}: {errors}"
