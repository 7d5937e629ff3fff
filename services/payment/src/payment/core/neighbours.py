"""The neighbours that are told. To add one, add its record here, then what CONTRIBUTING.md lists. Pure data.

The database and the API call a neighbour's name `service`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Neighbour:
    """How a neighbour is called.

    Attributes:
        name: in the database, in the API, in the log and, in capitals, before the names of its settings.
        default_url: where it is, unless its setting says otherwise.
        placeholder: the name of the id in its paths.
        put_path: where it is told, unless its setting says otherwise.
        put_field: the field of the PUT's body that holds the status.
        read_path: where it can be asked what it knows.
        read_field: the field of the GET's answer that holds the status.
        is_waited_for: True if `Prefer: wait` waits until it was told.
    """

    name: str
    default_url: str
    placeholder: str
    put_path: str
    put_field: str
    read_path: str
    read_field: str
    is_waited_for: bool = True

    @property
    def prefix(self) -> str:
        """Return how the names of its settings begin."""
        return self.name.upper()


ORDER = Neighbour(
    name="order",
    default_url="http://localhost:5003",
    placeholder="order_id",
    put_path="/orders/{order_id}/payment",
    put_field="payment_status",
    read_path="/orders/{order_id}",
    read_field="status",
)

USER = Neighbour(
    name="user",
    default_url="http://localhost:5001",
    placeholder="user_id",
    put_path="/users/{user_id}/payment-service",
    put_field="status",
    read_path="/users/{user_id}",
    read_field="payment_status",
)

NEIGHBOURS = {neighbour.name: neighbour for neighbour in (ORDER, USER)}
