"""Which routes of the neighbours have been seen to exist (docs/decisions/0011).

Only there is a 404 an answer about the order or user; elsewhere it says that the path is wrong. A route is
its method, URL and path, `PUT http://order:5003/orders/{order_id}/payment`: another setting, another route.
"""

from collections.abc import Collection

from sqlalchemy import Connection, select

from payment.storage.statements import insert
from payment.storage.tables import known_routes


def find_known(connection: Connection, routes: Collection[str]) -> set[str]:
    """Return those of the routes that have been seen to exist, by any process."""
    query = select(known_routes.c.route).where(known_routes.c.route.in_(routes))
    return set(connection.execute(query).scalars())


def keep_known(connection: Connection, routes: Collection[str], now_us: int) -> None:
    """Note that routes exist; one that is noted stays as it is."""
    if routes:
        rows = [{"route": route, "since_us": now_us} for route in sorted(routes)]
        connection.execute(insert(connection, known_routes).on_conflict_do_nothing(), rows)
