"""Keys: who may call, with which scopes; make one (shown once), rotate and revoke."""

from datetime import timedelta
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from payment.console.api import Refused
from payment.console.figures import read_whole
from payment.console.payments import day_in
from payment.console.visit import Visit
from payment.console.words import ENGLISH

PATH = "/console/keys"
_DAY = timedelta(days=1)


async def show_keys(visit: Visit) -> Response:
    """GET /console/keys."""
    return await _page(visit)


async def change_keys(visit: Visit) -> Response:
    """POST /console/keys: make a key, rotate or revoke one."""
    act = _ACTS.get(visit.form.get("do", ""))
    if act is None:
        raise HTTPException(400, "no form")
    try:
        return await act(visit)
    except Refused as refused:
        if refused.status not in {400, 404, 409, 422}:
            raise
        return await _page(visit, refused.status, refused=refused, typed=visit.form)


async def _create(visit: Visit) -> Response:
    form = visit.form
    until = form.get("until", "")
    clock = visit.pages.clocks[visit.language]
    key = {
        "client": form.get("client", "").strip(),
        "scopes": [scope for scope in visit.api.scopes() if form.get(f"scope {scope}")],
        "expires_at": clock.begins(day_in(until, "until") + _DAY) if until else None,
    }
    made = await visit.do("POST", "/keys", key, once=form.get("once"))
    return visit.show("key_made.html", made=made)


async def _rotate(visit: Visit) -> Response:
    key_id = _key_id(visit)
    if visit.form.get("sure") != "yes":
        return await _ask_if_sure(visit, key_id)
    body = {"overlap_s": read_whole(visit.form.get("overlap_s", ""))}
    made = await visit.do("POST", f"/keys/{key_id}/rotate", body, once=visit.form.get("once"))
    return visit.show("key_made.html", made=made)


async def _revoke(visit: Visit) -> Response:
    key_id = _key_id(visit)
    if visit.form.get("sure") != "yes":
        return await _ask_if_sure(visit, key_id)
    await visit.do("POST", f"/keys/{key_id}/revoke", {})
    return visit.go_to(PATH, said="revoked")


_ACTS = {"create": _create, "rotate": _rotate, "revoke": _revoke}


async def _ask_if_sure(visit: Visit, key_id: str) -> Response:
    own = visit.session.key
    key = await visit.ask(f"/keys/{key_id}")
    return visit.show("sure_key.html", do=visit.form["do"], key=key, is_own=bool(own and own.id == key_id))


async def _page(visit: Visit, status: int = 200, **facts: Any) -> Response:
    keys = (await visit.ask("/keys"))["keys"]
    shown: dict[str, Any] = {"refused": None, "typed": {}, **facts}
    scopes = {
        scope: _in_one_language(meaning, visit.language) for scope, meaning in visit.api.scopes().items()
    }
    return visit.show("keys.html", status, keys=keys, scopes=scopes, **shown)


def _in_one_language(meaning: str, language: str) -> str:
    """Return the part of `Melihat laporan / read reports` that is in this language."""
    indonesian, _, english = meaning.partition(" / ")
    return english if language == ENGLISH and english else indonesian


def _key_id(visit: Visit) -> str:
    key_id = visit.form.get("key", "")
    if not (key_id.isascii() and key_id.isalnum()):
        raise HTTPException(400, "no form")
    return key_id


ROUTES = (
    ("/keys", ["GET"], show_keys),
    ("/keys", ["POST"], change_keys),
)
