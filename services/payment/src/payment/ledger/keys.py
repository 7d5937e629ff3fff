"""API keys: make, list, rotate and revoke them. What happens to a key is an event in the same transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, bindparam, or_, select, tuple_

from payment.core import api_key
from payment.core.cause import Cause
from payment.core.errors import ApiKeyEnded, ApiKeyMade, ApiKeyNotFound
from payment.core.states import EventType
from payment.core.units import TIME_MAX_US
from payment.ledger.events import Event, append
from payment.ledger.idempotency import BookedAnswer, Key, refuse_another
from payment.ledger.rows import key_row, used_key
from payment.storage.statements import Row, insert
from payment.storage.tables import api_keys, idempotency_keys

_row = api_keys.c
_SHOWN = [column for column in _row if column is not _row.secret_sha256]

ACTIVE_KEYS = select(api_keys).where(
    _row.revoked_us.is_(None), or_(_row.expires_us.is_(None), _row.expires_us > bindparam("now_us"))
)

_NOTE_USE = (
    api_keys.update()
    .where(_row.id == bindparam("key_id"))
    .where(or_(_row.last_used_us.is_(None), _row.last_used_us < bindparam("used_us")))
    .values(last_used_us=bindparam("used_us"))
)


class KeyState(StrEnum):
    """Whether a key lets its client in."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that somebody asks for; it never expires if `expires_us` is None."""

    client: str
    scopes: Sequence[str]
    expires_us: int | None = None


@dataclass(frozen=True, slots=True)
class Rotation:
    """The wish for a key in the place of an old one, which is good for so long more; see `rotate_key`."""

    key_id: str
    overlap_us: int


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key that was just made, the one time that its text is there."""

    row: Row
    text: str

    def __repr__(self) -> str:
        """Return nothing that lets anybody in."""
        return f"MadeKey({self.row['id']})"

    @property
    def location(self) -> str:
        """Return where it can be looked at, without its secret."""
        return f"/keys/{self.row['id']}"

    def to_be_shown(self) -> dict[str, Any]:
        """Return what its maker is told of it."""
        return {**self.row, "key": self.text}


def make_key(
    connection: Connection, asked: NewKey | Rotation, key: Key | None, cause: Cause, now_us: int
) -> MadeKey:
    """Make a key, unless the same request has made one.

    The text of a key is stored nowhere, so it cannot be shown again: the row of the idempotency key tells
    only which key was made. That row is written first. Of two at once its primary key lets one pass, and the
    other waits for it; if no key is made, the row is gone with the transaction.

    Args:
        connection: a transaction that may write.
        asked: a new key, or one for an old one.
        key: the idempotency key of the request, None if it has none.
        cause: who wants it.
        now_us: the time, microseconds since the epoch.

    Raises:
        ApiKeyNotFound, ApiKeyEnded: see `rotate_key`.
        ApiKeyMade: the same request has made one.
        KeyReused: the idempotency key was used for another request.
    """
    if key is not None:
        _take(connection, key, now_us)
    if isinstance(asked, NewKey):
        made = create_key(connection, asked, cause, now_us)
    else:
        made = rotate_key(connection, asked.key_id, asked.overlap_us, cause, now_us)
    if key is not None:
        connection.execute(idempotency_keys.update().where(_is(key)).values(location=made.location))
    return made


def _take(connection: Connection, key: Key, now_us: int) -> None:
    """Let the first request with this idempotency key pass."""
    row = key_row(key, BookedAnswer(status=201, location="", body=""), now_us)
    taking = insert(connection, idempotency_keys).on_conflict_do_nothing().returning(idempotency_keys.c.key)
    if connection.execute(taking, row).first() is not None:
        return
    used = used_key(connection.execute(select(idempotency_keys).where(_is(key))).one())
    refuse_another(used, key)
    raise ApiKeyMade(key_id=used.answer.location.rpartition("/")[2])


def _is(key: Key) -> ColumnElement[bool]:
    return tuple_(*idempotency_keys.primary_key) == tuple_(*key.identity)


def create_key(connection: Connection, new: NewKey, cause: Cause, now_us: int) -> MadeKey:
    """Make a key.

    Args:
        connection: a transaction that may write.
        new: what it is to be.
        cause: who wants it.
        now_us: the time, microseconds since the epoch.
    """
    key_id, secret = api_key.new_id(), api_key.new_secret()
    row = {
        "id": key_id,
        "client": new.client,
        "scopes": " ".join(dict.fromkeys(new.scopes)),
        "created_us": now_us,
        "expires_us": new.expires_us,
        "revoked_us": None,
        "last_used_us": None,
    }
    connection.execute(api_keys.insert(), {**row, "secret_sha256": api_key.sha256_of(secret.encode())})
    append(connection, [Event((EventType.KEY_CREATED,), None, row, cause)], now_us)
    return MadeKey(row, api_key.text_of(key_id, secret))


def rotate_key(connection: Connection, key_id: str, overlap_us: int, cause: Cause, now_us: int) -> MadeKey:
    """Make a key of the same client, scopes and lifetime, and let the old one expire.

    Args:
        connection: a transaction that may write.
        key_id: the old one.
        overlap_us: for how long it is still good, unless it expires before; 0 revokes it now.
        cause: who wants it.
        now_us: the time, microseconds since the epoch.

    Raises:
        ApiKeyNotFound: there is no such key.
        ApiKeyEnded: it has been revoked, or has expired.
    """
    old = _lock_active(connection, key_id, now_us)
    lifetime_us = None if old["expires_us"] is None else old["expires_us"] - old["created_us"]
    expires_us = None if lifetime_us is None else min(now_us + lifetime_us, TIME_MAX_US)
    made = create_key(connection, NewKey(old["client"], old["scopes"].split(), expires_us), cause, now_us)
    if overlap_us == 0:
        _end(connection, old, cause, now_us)
    else:
        ends_us = min(old["expires_us"] or now_us + overlap_us, now_us + overlap_us)
        connection.execute(api_keys.update().where(_row.id == key_id).values(expires_us=ends_us))
    return made


def revoke_key(connection: Connection, key_id: str, cause: Cause, now_us: int) -> None:
    """Let a key be good no more.

    Raises:
        ApiKeyNotFound: there is no such key.
        ApiKeyEnded: it has been revoked, or has expired.
    """
    _end(connection, _lock_active(connection, key_id, now_us), cause, now_us)


def _lock_active(connection: Connection, key_id: str, now_us: int) -> Row:
    """Return a key that nobody else changes until the transaction ends (on SQLite nobody can)."""
    query = select(*_SHOWN).where(_row.id == key_id).with_for_update()
    found = connection.execute(query).mappings().first()
    if found is None:
        raise ApiKeyNotFound
    row = dict(found)
    state = state_of(row, now_us)
    if state is not KeyState.ACTIVE:
        raise ApiKeyEnded(id=key_id, state=state.value)
    return row


def _end(connection: Connection, row: Row, cause: Cause, now_us: int) -> None:
    connection.execute(api_keys.update().where(_row.id == row["id"]).values(revoked_us=now_us))
    ended = {**row, "revoked_us": now_us}
    append(connection, [Event((EventType.KEY_REVOKED,), None, ended, cause)], now_us)


def find_keys(connection: Connection, now_us: int) -> list[Row]:
    """Return all keys that ever were, each with its `state`, newest first; their secrets nowhere."""
    rows = connection.execute(select(*_SHOWN).order_by(_row.created_us.desc(), _row.id)).mappings()
    return [_with_state(dict(row), now_us) for row in rows]


def find_key(connection: Connection, key_id: str, now_us: int) -> Row:
    """Return one key, with its `state`.

    Raises:
        ApiKeyNotFound: there is none with this id.
    """
    row = connection.execute(select(*_SHOWN).where(_row.id == key_id)).mappings().first()
    if row is None:
        raise ApiKeyNotFound
    return _with_state(dict(row), now_us)


def find_active_keys(connection: Connection, now_us: int) -> Sequence[RowMapping]:
    """Return the keys that are neither revoked nor expired, with the hashes of their secrets."""
    return connection.execute(ACTIVE_KEYS, {"now_us": now_us}).mappings().all()


def note_last_use(connection: Connection, used_us: Mapping[str, int]) -> None:
    """Write when keys were used last, unless another process knows of a later use.

    Args:
        connection: a transaction that may write.
        used_us: the times by the keys' ids.
    """
    for key_id in sorted(used_us):  # in one order, so that two processes never wait for each other
        connection.execute(_NOTE_USE, {"key_id": key_id, "used_us": used_us[key_id]})


def state_of(row: Row, now_us: int) -> KeyState:
    """Return whether a key is good at this time."""
    if row["revoked_us"] is not None:
        return KeyState.REVOKED
    if row["expires_us"] is not None and row["expires_us"] <= now_us:
        return KeyState.EXPIRED
    return KeyState.ACTIVE


def _with_state(row: Row, now_us: int) -> Row:
    return {**row, "state": state_of(row, now_us).value}
