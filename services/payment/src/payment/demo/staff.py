"""Who calls the API in the restaurant of the sample days: its clients, each with a key of its own. Pure."""

from dataclasses import dataclass

CASHIERS = ("kasir-1", "kasir-2")
WAITERS, BRIDGE, OFFICE = "pelayan-app", "jembatan-qris", "kantor"
"""The bridge hears from the QRIS provider what became of a code; the office looks at the bank account."""

OWNER = "pemilik"
"""The user of the system who makes and revokes the keys."""

_TILL = ("payments:read", "payments:write", "refunds:write")


@dataclass(frozen=True, slots=True)
class Client:
    """A client, and what its key is good for.

    Attributes:
        expires_d: after how many days its key expires; None: never.
        leaves_d: after how many days its key is revoked.
    """

    name: str
    scopes: tuple[str, ...]
    expires_d: float | None = None
    leaves_d: float | None = None


CLIENTS = (
    *(Client(name, _TILL) for name in CASHIERS),
    Client(WAITERS, ("payments:read", "payments:write"), expires_d=90),
    Client(BRIDGE, ("payments:write",)),
    Client(OFFICE, ("payments:read", "payments:write", "reports:read", "notifications:write")),
    Client("kasir-lama", _TILL, leaves_d=5.4),
    Client(OWNER, ("admin",)),
)
