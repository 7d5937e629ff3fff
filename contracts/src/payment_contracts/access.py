"""How a running service is reached: its URL, our token, the CAs that we trust, the environment's proxy."""

import contextlib
import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, urldefragauth

from payment_contracts.verdict import InvalidRunError

TIMEOUT_S = 10.0
REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


@dataclass(frozen=True)
class Access:
    """How one service is reached.

    Attributes:
        url: its base URL, without a slash at the end.
        name: order or user, for the names of its settings in messages.
        token: sent as a bearer token.
        ca_file: the CAs, in PEM, that may have signed its certificate; None for those known to all.
        client_files: our certificate and its key, in PEM, if it asks for one.
        proxies: as requests takes them; none for what is on this machine.
    """

    url: str
    name: str = "service"
    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    client_files: tuple[str, str] | None = None
    proxies: Mapping[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Look at the environment's proxies, once."""
        object.__setattr__(self, "proxies", {} if _is_loopback(self.url) else get_environ_proxies(self.url))

    def __str__(self) -> str:
        """Return the URL without a password."""
        return str(urldefragauth(self.url))

    def of(self, url: str) -> "Access":
        """Return the access to a URL beside the service; only the service itself gets the token."""
        token = self.token if urlsplit(url)[:2] == urlsplit(self.url)[:2] else None
        return Access(url, self.name, token, self.ca_file, self.client_files)

    @contextlib.contextmanager
    def send(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **body: Any
    ) -> Iterator[requests.Response]:
        """Send a request; give the answer with its body unread. Redirects are not followed.

        No `requests.Session`: it would add headers, keep cookies and prefer a netrc's password to the token.

        Args:
            method: of HTTP.
            path: below the base URL, the query included.
            headers: all but the token.
            body: as requests takes it, in `data` or `json`.

        Raises:
            InvalidRunError: no answer came.
        """
        request = requests.PreparedRequest()
        authorization = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            request.prepare(method, self.url + path, {**(headers or {}), **authorization}, **body)
            with (
                contextlib.closing(HTTPAdapter()) as adapter,
                adapter.send(
                    request,
                    stream=True,
                    timeout=TIMEOUT_S,
                    verify=self.ca_file or True,
                    cert=self.client_files,
                    proxies=self.proxies,
                ) as answer,
            ):
                yield answer
        except requests.RequestException as error:
            raise InvalidRunError(self._no_answer(f"{method} {path or '/'}", error)) from None

    def request(self, method: str, path: str, **body: Any) -> requests.Response:
        """Send a request and return the answer; raises InvalidRunError if none came."""
        with self.send(method, path, **body) as answer:
            _ = answer.content  # read while the connection is open
        return answer

    def ask(self, method: str, path: str, **body: Any) -> requests.Response:
        """Send a request that our token must be good for, and return the answer.

        Raises:
            InvalidRunError: no answer came, or the token will not do.
        """
        answer = self.request(method, path, **body)
        if answer.status_code in REFUSED:
            raise InvalidRunError(self.refusal(f"{method} {path}", answer.status_code))
        return answer

    def refusal(self, request: str, status: int) -> str:
        """Return what a 401 or 403 means, in words."""
        setting = f"{self.name.upper()}_SERVICE_TOKEN"
        what = f"is wrong or may not do this; see {setting}" if self.token else f"is missing; set {setting}"
        return f"{self} answered {status} to {request}: the token {what}"

    def _no_answer(self, request: str, error: requests.RequestException) -> str:
        said = str(error)
        if isinstance(error, requests.exceptions.ProxyError):
            return f"{self} cannot be reached by the proxy of the environment (HTTP_PROXY, NO_PROXY)"
        if "CERTIFICATE_VERIFY_FAILED" in said:
            return (
                f"{self} cannot be trusted: its certificate does not verify "
                f"({said.rpartition('failed: ')[2].partition(' (_ssl')[0]}); "
                f"a private CA is given by {self.name.upper()}_SERVICE_CA_FILE"
            )
        return f"{self} cannot be reached: {request} got no answer ({type(error).__name__}). Is it running?"


def _is_loopback(url: str) -> bool:
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        address = ipaddress.ip_address(host)
        mapped = getattr(address, "ipv4_mapped", None) or address
        return bool(mapped.is_loopback or mapped.is_unspecified)  # 0.0.0.0 leads to this machine too
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
