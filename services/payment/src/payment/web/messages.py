"""The words that guests and operators read: Indonesian first, English on request.

English stands in the code and is the key; `locale/id.po` (gettext) holds the Indonesian. A test finds a
message without a translation.
"""

from functools import cache
from pathlib import Path
from typing import Any

from babel.messages.pofile import read_po
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

from payment.core.errors import PaymentError

INDONESIAN = "id"
ENGLISH = "en"
ACCEPT_LANGUAGE_MAX_CHARS = 1024
_LOCALES = Path(__file__).parent / "locale"


def choose_language(accept_language: str | None) -> str:
    """Return `id` or `en` for an `Accept-Language` header (RFC 9110, 12.5.4); Indonesian by default.

    A look-up in the sense of RFC 4647, 3.4: `en-US, id;q=0.5` is English.
    """
    if accept_language and len(accept_language) > ACCEPT_LANGUAGE_MAX_CHARS:
        return INDONESIAN  # parsing takes time that grows with the square of its length
    said = parse_accept_header(accept_language, LanguageAccept)
    refuses_indonesian = any(tag.lower() == INDONESIAN and quality == 0 for tag, quality in said)
    for tag, quality in said:
        language = tag.partition("-")[0].lower()
        if quality > 0 and language in (INDONESIAN, ENGLISH):
            return language
        if quality > 0 and language == "*" and refuses_indonesian:
            return ENGLISH
    return INDONESIAN


def translate(message: str, language: str) -> str:
    """Return the message in the given language, its placeholders left in place."""
    return message if language == ENGLISH else _indonesian()[message]


def words_of(error: PaymentError, language: str) -> str:
    """Return what the caller is told of an error."""
    facts: dict[str, Any] = {"field": error.field, **error.facts}
    if "rule" in facts:
        facts["rule"] = translate(facts["rule"], language).format(**facts)
    return translate(error.message, language).format(**facts)


@cache
def _indonesian() -> dict[str, str]:
    with (_LOCALES / "id.po").open("rb") as file:
        catalog = read_po(file, locale="id", abort_invalid=True)
    return {str(message.id): str(message.string) for message in catalog if message.id}
