"""`payment keys create`, `list`, `revoke` and `rotate`. A key is printed once, and is nobody's argument."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import click

from payment.cli.duration import Duration
from payment.cli.opening import cause, now_us, opened
from payment.cli.text_table import lines_of
from payment.core.api_key import is_client_name
from payment.core.errors import ApiKeyEnded, ApiKeyNotFound
from payment.core.settings import Settings
from payment.ledger.answers import KeyAnswer, MadeKeyAnswer
from payment.ledger.keys import MadeKey, NewKey, create_key, find_keys, revoke_key, rotate_key

COLUMNS = ("id", "client", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at", "state")


@click.group()
def keys() -> None:
    """Kunci API untuk AUTH=keys / API keys for AUTH=keys."""


@keys.command("create")
@click.option("--client", required=True, help="Siapa yang memakainya / who uses it: A-Z a-z 0-9 . _ -")
@click.option("--scope", "scopes", required=True, multiple=True, help="Boleh diulang / may be repeated.")
@click.option("--expires", type=Duration(), help="Bawaan: tidak pernah / default: never.")
@click.option("--json", "as_json", is_flag=True, help="Satu objek JSON / one JSON object.")
@click.pass_obj
def create(
    settings: Settings, *, client: str, scopes: Sequence[str], expires: timedelta | None, as_json: bool
) -> None:
    """Buat kunci / make a key; it is printed on stdout, this once."""
    from payment.web.specification import read_specification, scopes_of  # noqa: PLC0415  # loads YAML

    if not is_client_name(client):
        raise click.BadParameter("1 sampai 64 dari / 1 to 64 of A-Z a-z 0-9 . _ -", param_hint="'--client'")
    known = scopes_of(read_specification(settings.openapi_file))
    for scope in scopes:
        if scope not in known:
            raise click.BadParameter(f"{scope}: {', '.join(known)}", param_hint="'--scope'")
    if expires is not None and not expires:
        raise click.BadParameter("harus lebih dari 0 / must be more than 0", param_hint="'--expires'")
    time_us = now_us()
    expires_us = None if expires is None else time_us + _microseconds(expires)
    with opened(settings).write() as connection:
        made = create_key(connection, NewKey(client, scopes, expires_us), cause(), time_us)
    _print(made, as_json=as_json)


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Satu objek JSON sebaris / JSON lines.")
@click.pass_obj
def list_keys(settings: Settings, *, as_json: bool) -> None:
    """Daftar, yang terbaru dulu / list, newest first."""
    with opened(settings).read() as connection:
        found: list[dict[str, Any]] = KeyAnswer(many=True).dump(find_keys(connection, now_us()))
    if as_json:
        for row in found:
            click.echo(json.dumps(row))
    else:
        for line in _table_of(found):
            click.echo(line)


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
@click.pass_obj
def revoke(settings: Settings, *, key_id: str) -> None:
    """Cabut kunci / revoke a key: within 5 seconds no process takes it any more."""
    with _refusals_told(key_id), opened(settings).write() as connection:
        revoke_key(connection, key_id, cause(), now_us())
    click.echo(f"Dicabut / revoked: {key_id}")


@keys.command("rotate")
@click.argument("key_id", metavar="ID")
@click.option(
    "--overlap",
    type=Duration(),
    default="24h",
    show_default=True,
    help="Selama ini kunci lama masih berlaku / for how long the old key is still good; 0: not at all.",
)
@click.option("--json", "as_json", is_flag=True, help="Satu objek JSON / one JSON object.")
@click.pass_obj
def rotate(settings: Settings, *, key_id: str, overlap: timedelta, as_json: bool) -> None:
    """Ganti kunci / make a new key for an old one: same client, scopes and lifetime."""
    with _refusals_told(key_id), opened(settings).write() as connection:
        made = rotate_key(connection, key_id, _microseconds(overlap), cause(), now_us())
    _print(made, as_json=as_json)


def _print(made: MadeKey, *, as_json: bool) -> None:
    answer = MadeKeyAnswer()
    click.echo(answer.text(made.to_be_shown()) if as_json else made.text)
    row = made.row
    click.echo(
        f"Kunci {row['id']} milik {row['client']}, hanya ditampilkan sekali ini / "
        f"key {row['id']} of {row['client']}, shown this once",
        err=True,
    )


def _microseconds(length: timedelta) -> int:
    return length // timedelta(microseconds=1)


@contextmanager
def _refusals_told(key_id: str) -> Iterator[None]:
    """Say why a key cannot be ended, and end the command."""
    try:
        yield
    except ApiKeyNotFound:
        said = f"Kunci {key_id} tidak ada / there is no key {key_id}"
    except ApiKeyEnded as error:
        state = error.facts["state"]
        said = f"Kunci {key_id} sudah berstatus {state} / key {key_id} is {state} already"
    else:
        return
    click.echo(said, err=True)
    sys.exit(1)


def _table_of(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    cells = [COLUMNS, *(tuple(_cell(row[name]) for name in COLUMNS) for row in rows)]
    return lines_of(cells, aligned="<" * len(COLUMNS))


def _cell(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value or "")
