"""Provider states: what must be true of the service before an interaction, and how it becomes so."""

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import requests

from payment_contracts.access import Access
from payment_contracts.loopback import Handler, serve
from payment_contracts.providers import ORDER, Provider
from payment_contracts.verdict import InvalidRunError

UNKNOWN_ID = 999_999_999

States = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Sets up a provider state, given its sentence and its parameters; returns the provider's own values."""


@contextlib.contextmanager
def serve_states(states: States, refused: list[str]) -> Iterator[str]:
    """Serve a state-change URL for the verifier; what cannot be set up is noted in `refused`."""

    class StateChange(Handler):
        def do_POST(self) -> None:  # noqa: N802  # the standard library's name
            """Set up one state."""
            asked = json.loads(self.body())
            try:
                answer, status = states(asked["state"], asked.get("params", {})), HTTPStatus.OK
            except (InvalidRunError, requests.RequestException) as error:
                refused.append(f"the state {asked['state']!r} cannot be set up: {error}")
                answer, status = {}, HTTPStatus.UNPROCESSABLE_ENTITY  # a 5xx would be tried for two minutes
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serve(StateChange) as url:
        yield url


def states_at(access: Access) -> States:
    """Return states that are set up by the provider's own state-change URL."""

    def set_up(state: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        asked = {"action": "setup", "state": state, "params": parameters}
        answer = access.ask("POST", "", json=asked)
        if not 200 <= answer.status_code < 300:  # noqa: PLR2004  # RFC 9110, 15.3: successful
            raise InvalidRunError(f"{access} answered {answer.status_code}")
        with contextlib.suppress(ValueError):
            if isinstance(values := answer.json(), dict):
                return values
        return {}

    return set_up


class PublicStates:
    """Sets states up through the provider's public API, or with an id that is known to exist.

    Args:
        provider: order or user.
        access: to it.
        path: of its PUT.
        known_id: an id that exists and may be changed; None to create one.
        user_id: for whom an order is created.
    """

    def __init__(
        self, provider: Provider, access: Access, path: str, known_id: int | None, user_id: int = 1
    ) -> None:
        self._provider = provider
        self._access = access
        self._path = path
        self._given_id = known_id
        self._existing_id: int | None = None
        self._user_id = user_id

    def __call__(self, state: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """Set up a state; see `States`."""
        del parameters  # the ids are ours to say
        name, placeholder = self._provider.name, self._provider.placeholder
        if state == f"{name} does not exist":
            return {placeholder: UNKNOWN_ID}
        if state == f"{name} exists":
            return {placeholder: self.existing_id()}
        if state == f"{name} is paid":
            target_id = self.existing_id()
            self.tell_paid(target_id, self._path)  # if it fails, the interaction itself will show it
            return {placeholder: target_id}
        raise InvalidRunError(
            f"this program does not know it; give the provider's own state-change URL, "
            f"--{name}-state-url (make: {name.upper()}_STATE_URL=)"
        )

    def existing_id(self) -> int:
        """Return the id of an order or user that exists.

        Raises:
            InvalidRunError: none can be created, or the one given does not exist.
        """
        if self._existing_id is None:
            self._existing_id = self._create() if self._given_id is None else self._find(self._given_id)
        return self._existing_id

    def tell_paid(self, target_id: int, path: str) -> requests.Response:
        """Make the PUT that Payment makes."""
        body = {self._provider.status_field: "paid"}
        return self._access.request("PUT", path.format(**{self._provider.placeholder: target_id}), json=body)

    def _find(self, known_id: int) -> int:
        """Return the id if any of the provider's routes knows it: a missing route is no missing order."""
        provider = self._provider
        read = f"/{provider.name}s/{known_id}"
        if self._access.ask("GET", read).status_code != HTTPStatus.NOT_FOUND or any(
            self.tell_paid(known_id, path).ok for path in (self._path, *provider.paths)
        ):
            return known_id
        raise InvalidRunError(
            f"{self._access} knows no {provider.name} {known_id} (404 to GET {read}); "
            f"name one that exists and may be changed: {_id_option(provider)}"
        )

    def _create(self) -> int:
        name = self._provider.name
        phone = f"0812{secrets.randbelow(10**8):08}"  # another each time, as some let no two users have one
        new: Mapping[str, Any] = {"name": "Uji Kontrak", "phone": phone}
        if self._provider is ORDER:
            new = {"user_id": self._user_id, "menu_ids": [1]}
        answer = self._access.ask("POST", f"/{name}s", json=new)
        try:
            return int(answer.json()["id"])
        except (ValueError, KeyError, TypeError):
            raise InvalidRunError(
                f"no {name} can be created: POST /{name}s answered {answer.status_code} without an id; "
                f"name one that exists and may be changed: {_id_option(self._provider)}, "
                f"or a state-change URL: --{name}-state-url (make: {name.upper()}_STATE_URL=)"
            ) from None


def _id_option(provider: Provider) -> str:
    return f"--{provider.name}-id (make: {provider.name.upper()}_ID=)"
