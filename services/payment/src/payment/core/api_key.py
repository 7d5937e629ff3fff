"""What an API key looks like: `pk_<id>_<secret>`. Its secret is kept by nobody but its client."""

import re
import secrets
import string
from hashlib import sha256

ID_CHARS = 8
SECRET_CHARS = 40
"""238 random bits: whoever guesses a thousand a second finds none."""

NOBODYS_SHA256 = "0" * 64
"""The hash that no secret has, to compare with where there is no key."""

CLIENT_MAX_CHARS = 64
CLIENT_PATTERN = r"[A-Za-z0-9._-]{1,64}"
"""The name of a client: without what stands between it and a key's id, or after `cli`."""

_BASE62 = string.digits + string.ascii_letters
_KEY = re.compile(rb"pk_([0-9A-Za-z]{8})_([0-9A-Za-z]{32,64})")


def is_client_name(text: str) -> bool:
    """Say whether a client may be called that."""
    return re.fullmatch(CLIENT_PATTERN, text) is not None


def new_id() -> str:
    """Return the id of a new key."""
    return _random(ID_CHARS)


def new_secret() -> str:
    """Return the secret of a new key."""
    return _random(SECRET_CHARS)


def text_of(key_id: str, secret: str) -> str:
    """Return the key as its client sends it."""
    return f"pk_{key_id}_{secret}"


def id_and_secret_of(given: bytes) -> tuple[str, bytes]:
    """Return the id and the secret of what somebody gives as a key.

    What cannot be one has an id that no key has, and is taken for the secret whole: it is then looked up and
    compared like any other.
    """
    found = _KEY.fullmatch(given)
    return (found[1].decode(), found[2]) if found else ("", given)


def sha256_of(secret: bytes) -> str:
    """Return what is stored of a secret. A slow hash is for what people make up (docs/decisions/0015)."""
    return sha256(secret).hexdigest()


def _random(chars: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(chars))
