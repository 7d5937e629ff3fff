"""Who calls with an API key: keys are made as operators make them, at the command line."""

import json
from dataclasses import dataclass, field
from typing import Any

import httpx

from described import description
from processes import Service

SCOPES: list[str] = list(description()["components"]["securitySchemes"]["apiKey"]["x-scopes"])
REALM = 'Bearer realm="payment"'
INVALID = f'{REALM}, error="invalid_token"'
WRONG = f"pk_R7mQ2xVb_{'x' * 40}"


@dataclass(frozen=True)
class Caller:
    """Calls a service with this key, or with none, over the service's own client."""

    service: Service
    key: str = field(default="", repr=False)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request; what comes back is held against OpenAPI."""
        authorization = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        headers = authorization | options.pop("headers", {})
        return self.service.http.request(method, path, headers=headers, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """POST."""
        return self.request("POST", path, **options)


@dataclass(frozen=True)
class Holder(Caller):
    """Who holds a key of this id."""

    id: str = ""

    @property
    def secret(self) -> str:
        """Return what nobody else may see."""
        return self.key.rpartition("_")[2]


def holder(
    service: Service, *scopes: str, client: str = "kasir-1", arguments: tuple[str, ...] = ()
) -> Holder:
    """Make a key at the command line, for somebody who calls this service."""
    asked = [word for scope in scopes for word in ("--scope", scope)]
    made = service.cli("keys", "create", "--json", "--client", client, *asked, *arguments)
    assert made.returncode == 0, made.stderr
    shown = json.loads(made.stdout)
    return Holder(service, shown["key"], shown["id"])


def let_in(service: Service, *scopes: str, client: str = "kasir-1") -> Holder:
    """Have the requests of a service's own methods (`pay`, `settle`, …) bring a key."""
    made = holder(service, *scopes, client=client)
    service.http.headers["Authorization"] = f"Bearer {made.key}"
    return made


def answer_of(response: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return all of an answer but what is another each time."""
    head = response.headers.multi_items()
    return (
        response.status_code,
        [(name, value) for name, value in head if name not in {"date", "x-request-id"}],
        response.content,
    )
