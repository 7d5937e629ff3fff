"""Every call that we make to Order and User, with the production clients, and what they read in the answer.

Of a PUT's answer only the status code is read. A 404 must be a JSON object, or it says that the route is
missing; which member of it holds the sentence is nothing that we rely on. Of a GET's answer one field
is read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pact import match

from interaction import Interaction
from payment.core import neighbours
from payment.core.settings import NeighbourSettings
from payment.core.states import Outcome, Status
from payment.telling.downstream import NeighbourClient

ID = 1
UNKNOWN_ID = 999_999_999
WORDS = {"paid": Status.PAID, "pending": Status.PENDING, "failed": Status.FAILED}
"""What is told, in the words of the contracts, and what the client is to tell it by."""

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


MakeClient = Callable[..., NeighbourClient]
"""Makes a client of a neighbour from its settings and time-outs."""


@dataclass(frozen=True)
class Told:
    """A neighbour in the words of its contract, so that a mistake of the client cannot change them.

    Attributes:
        name: order or user.
        client: makes the production client.
        put_path: where it is told, and as which `put_field`.
        get_path: where it is asked, and what it knows is in `get_field`.
    """

    name: str
    client: MakeClient
    put_path: str
    put_field: str
    get_path: str
    get_field: str

    @property
    def placeholder(self) -> str:
        """Return the name of its id in paths."""
        return f"{self.name}_id"

    def connect(self, url: str, kind: MakeClient | None = None) -> NeighbourClient:
        """Return a client (of another `kind`, for mutants) that has been answered at this URL before."""
        settings = NeighbourSettings(url=url.rstrip("/"), path=self.put_path, token=None)
        client = (kind or self.client)(settings, connect_timeout_s=2, read_timeout_s=5)
        client.known_routes.update(client.routes)
        return client


ORDER = Told(
    "order",
    partial(NeighbourClient, neighbours.ORDER),
    "/orders/{order_id}/payment",
    "payment_status",
    "/orders/{order_id}",
    "status",
)
USER = Told(
    "user",
    partial(NeighbourClient, neighbours.USER),
    "/users/{user_id}/payment-service",
    "status",
    "/users/{user_id}",
    "payment_status",
)


def is_told(client: NeighbourClient, target_id: int, status: Status) -> bool:
    """Tell; return whether the client takes the news for delivered."""
    result = client.tell(
        target_id, status, idempotency_key=f"notification-1-1-{status.value}", traceparent=TRACE
    )
    return result.outcome == Outcome.DELIVERED  # a mutant has an Outcome of its own


def is_unknown(client: NeighbourClient, target_id: int) -> bool:
    """Tell; return whether the client takes the id for unknown to the neighbour."""
    result = client.tell(target_id, Status.PAID, idempotency_key="notification-1-1-paid", traceparent=TRACE)
    return result.outcome == Outcome.UNKNOWN


def is_read(client: NeighbourClient, target_id: int, status: Status) -> bool:
    """Ask; return whether the client sees this status."""
    return client.read(target_id).status == status


def is_read_as_unknown(client: NeighbourClient, target_id: int) -> bool:
    """Ask; return whether the client sees that the neighbour does not know the id."""
    known = client.read(target_id)
    return known.status is None and known.is_unknown


def interactions_with(neighbour: Told, kind: MakeClient | None = None) -> list[Interaction]:
    """Return all that we call a neighbour for.

    Args:
        neighbour: order or user.
        kind: another client in the place of the production one.
    """
    name, placeholder = neighbour.name, neighbour.placeholder
    accept = {"Accept": "application/json"}
    sent = {
        **accept,
        "Idempotency-Key": match.regex("notification-1-1-paid", regex="^[!-~]{1,255}$"),
        "traceparent": match.regex(TRACE, regex="^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"),
    }

    def calling(does_its_work: Callable[[NeighbourClient], bool]) -> Callable[[str], None]:
        def call(url: str) -> None:
            assert does_its_work(neighbour.connect(url, kind))

        return call

    def put(description: str, state: str, target_id: int, news: str, **answered: Any) -> Interaction:
        return Interaction(
            description=description,
            state=state,
            parameters={placeholder: target_id},
            method="PUT",
            path=neighbour.put_path,
            request={neighbour.put_field: news},
            request_headers=sent,
            **answered,
        )

    def told(description: str, state: str, status: str) -> Interaction:
        return put(
            description,
            state,
            ID,
            status,
            status=200,
            any_success=True,
            answer=None,
            call=calling(lambda client: is_told(client, ID, WORDS[status])),
        )

    def get(description: str, state: str, target_id: int, **answered: Any) -> Interaction:
        return Interaction(
            description=description,
            state=state,
            parameters={placeholder: target_id},
            method="GET",
            path=neighbour.get_path,
            request=None,
            request_headers=accept,
            **answered,
        )

    exists, missing, paid = f"{name} exists", f"{name} does not exist", f"{name} is paid"
    return [
        *(told(f"tell that the {name} is {status}", exists, status) for status in WORDS),
        told(f"tell again that the {name} is paid", paid, "paid"),
        put(
            f"tell of an unknown {name}",
            missing,
            UNKNOWN_ID,
            "paid",
            status=404,
            answer={},
            call=calling(lambda client: is_unknown(client, UNKNOWN_ID)),
        ),
        get(
            f"read the {name}",
            paid,
            ID,
            status=200,
            any_success=True,
            answer={neighbour.get_field: "paid"},
            call=calling(lambda client: is_read(client, ID, Status.PAID)),
        ),
        get(
            f"read an unknown {name}",
            missing,
            UNKNOWN_ID,
            status=404,
            answer={},
            call=calling(lambda client: is_read_as_unknown(client, UNKNOWN_ID)),
        ),
    ]
