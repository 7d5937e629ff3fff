"""Order and User: what is theirs in a contract."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Provider:
    """A service that we rely on.

    Attributes:
        name: order or user.
        placeholder: the name of its id in paths.
        documented_path: of the PUT, as the contract has it.
        other_paths: that deployed versions are known to serve instead.
        status_field: the field of the PUT's body.
    """

    name: str
    placeholder: str
    documented_path: str
    other_paths: tuple[str, ...]
    status_field: str

    @property
    def paths(self) -> tuple[str, ...]:
        """Return all that are known for the PUT, the documented one first."""
        return (self.documented_path, *self.other_paths)

    @property
    def setting(self) -> str:
        """Return the setting of Payment that names the path."""
        return f"{self.name.upper()}_PAYMENT_PATH"


ORDER = Provider(
    "order",
    "order_id",
    "/orders/{order_id}/payment",
    ("/orders/{order_id}/payment-status",),
    "payment_status",
)
USER = Provider(
    "user",
    "user_id",
    "/users/{user_id}/payment-service",
    ("/users/{user_id}/payment-status",),
    "status",
)


def at_path(contract: Mapping[str, Any], provider: Provider, path: str) -> dict[str, Any]:
    """Return the contract with the PUT's path as Payment's setting has it."""
    changed: dict[str, Any] = json.loads(json.dumps(contract))
    for interaction in changed["interactions"]:
        request = interaction["request"]
        if request["method"] == "PUT":
            target_id = interaction["providerStates"][0]["params"][provider.placeholder]
            request["path"] = path.format(**{provider.placeholder: target_id})
            request["generators"]["path"]["expression"] = path.replace("{", "${")
    return changed
