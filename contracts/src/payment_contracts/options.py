"""The command line, and what the environment adds to it; each wrong value is named in one line."""

import argparse
import os
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from payment_contracts.access import Access
from payment_contracts.providers import ORDER, USER, Provider
from payment_contracts.verdict import InvalidRunError

USAGE = """Does a running Order or User service keep the contract that Payment relies on?

Exit codes: 0 all hold; 1 a contract is broken; 2 the run itself is invalid: nothing to verify, a service
that cannot be reached or does not take the token, a state that cannot be set up.

From the environment, for each service (here Order):
  ORDER_SERVICE_TOKEN             sent as a bearer token
  ORDER_SERVICE_CA_FILE           the private CA of its certificate, in PEM (else SSL_CERT_FILE)
  ORDER_SERVICE_CLIENT_CERT_FILE  our certificate, in PEM, and ORDER_SERVICE_CLIENT_KEY_FILE its key
"""
ID_MAX = 2**53 - 1


@dataclass(frozen=True)
class Target:
    """One service that is verified.

    Attributes:
        provider: which one it is.
        access: how it is reached.
        path: of its PUT, as Payment's setting has it.
        known_id: an id that exists and may be changed; None to create one.
        state_url: of its own state changes; None if states are set up through its API.
    """

    provider: Provider
    access: Access
    path: str
    known_id: int | None
    state_url: str | None


@dataclass(frozen=True)
class Options:
    """What is asked for.

    Attributes:
        contracts: the folder of the contracts.
        targets: what is verified, in order.
        user_id: for whom orders are created, if it was said.
    """

    contracts: Path
    targets: Sequence[Target]
    user_id: int | None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidRunError(message)


def read(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Options:
    """Return what is to be done.

    Raises:
        InvalidRunError: a value cannot be right; it is named.
    """
    parser = _Parser(
        "verify-payment-contracts", description=USAGE, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--contracts", type=Path, help="a folder of other contracts than those installed")
    for provider in (ORDER, USER):
        name = provider.name
        parser.add_argument(f"--{name}-url", default="", help=f"the running {name} service; may be left out")
        parser.add_argument(f"--{name}-id", default="", help=f"an existing {name} that may be changed")
        parser.add_argument(f"--{name}-state-url", default="", help="the provider's state-change URL")
        parser.add_argument(f"--{name}-path", default="", help=f"{provider.setting}, if not the documented")
    given = vars(parser.parse_args(arguments))
    targets = [
        _target(provider, given, environment) for provider in (ORDER, USER) if given[f"{provider.name}_url"]
    ]
    if not targets:
        raise InvalidRunError("nothing to verify: give --order-url or --user-url, or both (make: ORDER_URL=)")
    return Options(given["contracts"] or _installed(), targets, _id("--user-id", given["user_id"]))


def _installed() -> Path:
    """Return the folder of the contracts: beside this file, or `contracts/` if this is a checkout."""
    here = Path(__file__).resolve().parent
    agreed = here / "agreed"
    return agreed if agreed.is_dir() else here.parents[1]


def _target(provider: Provider, given: Mapping[str, str], environment: Mapping[str, str]) -> Target:
    name = provider.name
    url = _url(f"--{name}-url", given[f"{name}_url"])
    state_url = given[f"{name}_state_url"]
    return Target(
        provider,
        _access(provider, url, environment),
        _path(provider, given[f"{name}_path"]),
        _id(f"--{name}-id", given[f"{name}_id"]),
        _url(f"--{name}-state-url", state_url) if state_url else None,
    )


def _access(provider: Provider, url: str, environment: Mapping[str, str]) -> Access:
    prefix = f"{provider.name.upper()}_SERVICE"
    token = environment.get(f"{prefix}_TOKEN", "")
    if token and not re.fullmatch(r"[!-~]+", token):
        raise InvalidRunError(f"{prefix}_TOKEN must be visible ASCII characters")
    ca_file = None
    for name in (f"{prefix}_CA_FILE", "SSL_CERT_FILE"):
        if environment.get(name):
            ca_file = _ca_file(name, environment[name])
            break
    return Access(url, provider.name, token or None, ca_file, _client_files(prefix, environment))


def _url(option: str, url: str) -> str:
    if "@" in url:  # not shown, as a password may be in it
        raise InvalidRunError(f"{option} holds a user or a password; a token is given by the environment")
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # half an IPv6 address, a port beyond 65535
        is_one = False
    if not is_one or re.search(r"[{}?#\s]", url):
        raise InvalidRunError(f"{option} {url}: is not an http(s) URL, for example http://localhost:5003")
    return url.rstrip("/")


def _path(provider: Provider, path: str) -> str:
    """Return the path, the documented one for none; the same rule as Payment's own setting."""
    placeholder = f"{{{provider.placeholder}}}"
    before, found, after = (path or provider.documented_path).partition(placeholder)
    if not (before.startswith("/") and found) or re.search(r"[{}?#\s]", before + after):
        raise InvalidRunError(
            f"--{provider.name}-path {path}: must start with / and hold {placeholder} once, "
            f"for example {provider.documented_path}"
        )
    return before + found + after


def _id(option: str, text: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,16}", text) or not 1 <= int(text) <= ID_MAX:
        raise InvalidRunError(f"{option} {text}: is not a whole number from 1 to {ID_MAX}")
    return int(text)


def _ca_file(name: str, file: str) -> str:
    try:
        ssl.create_default_context(cafile=file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise InvalidRunError(f"{name}={file}: holds no certificate in PEM ({error})") from None
    return file


def _client_files(prefix: str, environment: Mapping[str, str]) -> tuple[str, str] | None:
    names = (f"{prefix}_CLIENT_CERT_FILE", f"{prefix}_CLIENT_KEY_FILE")
    certificate, key = (environment.get(name, "") for name in names)
    if not certificate and not key:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        raise InvalidRunError(f"{' and '.join(names)}: not a certificate with its key ({error})") from None
    return certificate, key
