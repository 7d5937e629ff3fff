"""The words for people: every message in both languages, and whose language it is."""

import ast
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st

import payment
from described import description, resolve
from payment.core import errors
from payment.core.errors import PaymentError
from payment.web import fields, http_errors, schemas
from payment.web.http_errors import FieldInvalid
from payment.web.messages import ENGLISH, INDONESIAN, choose_language, translate, words_of

SOURCES = Path(payment.__file__).parent


def errors_below(parent: type[PaymentError]) -> Iterator[type[PaymentError]]:
    for child in parent.__subclasses__():
        yield child
        yield from errors_below(child)


# Not all there are in the process: a test's own error is none of ours.
ERRORS: list[type[PaymentError]] = [
    PaymentError,
    *(e for e in errors_below(PaymentError) if e.__module__ in {errors.__name__, http_errors.__name__}),
]


def rules_in_code() -> set[str]:
    """Return what the sources give as the `rule` of a FieldInvalid, and the rules that fields know.

    A rule is a literal (`rule=…` in a call, `"rule": …` in a dict), or a public constant of `web.fields`.
    """
    rules: set[str] = set()
    for statement in ast.parse((SOURCES / "web" / "fields.py").read_text()).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
            if isinstance(statement.value.value, str) and not names[0].startswith("_"):
                rules.add(statement.value.value)
    for source in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text())):
            values: list[ast.expr] = []
            if isinstance(node, ast.Dict):
                keyed = zip(node.keys, node.values, strict=True)
                values = [v for k, v in keyed if isinstance(k, ast.Constant) and k.value == "rule"]
            elif isinstance(node, ast.Call):
                values = [keyword.value for keyword in node.keywords if keyword.arg == "rule"]
            rules |= {v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)}
    return rules


def translations() -> dict[str, str]:
    with (SOURCES / "web" / "locale" / "id.po").open("rb") as file:
        catalog = read_po(file, locale="id", abort_invalid=True)
    return {str(message.id): str(message.string) for message in catalog if message.id}


def placeholders(message: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(message) if name is not None)


MESSAGES = sorted({error.message for error in ERRORS} | rules_in_code())


def test_the_rules_are_found() -> None:
    """Else the tests below would be content with nothing."""
    found = rules_in_code()
    assert {fields.MUST_BE_WHOLE, fields.MUST_BE_ONE_OF, "is not valid"} <= found
    assert len(ERRORS) > 15


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_has_an_indonesian_translation_with_the_same_placeholders(message: str) -> None:
    indonesian = translate(message, INDONESIAN)
    assert indonesian.strip()
    assert placeholders(indonesian) == placeholders(message)
    assert translate(message, ENGLISH) == message


@pytest.mark.parametrize("message", [message for message in MESSAGES if message != FieldInvalid.message])
def test_the_translation_is_one(message: str) -> None:
    assert translate(message, INDONESIAN) != message


def test_no_translation_is_left_over() -> None:
    """A translation of what nobody says any more hides that what is said now has none."""
    assert sorted(translations()) == MESSAGES


def test_no_message_is_marked_as_a_guess() -> None:
    """A fuzzy entry is gettext's own guess."""
    assert "fuzzy" not in (SOURCES / "web" / "locale" / "id.po").read_text()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_has_a_name_of_its_own_that_fits_into_a_urn(error: type[PaymentError]) -> None:
    assert [other for other in ERRORS if other.code == error.code] == [error]
    assert error.code
    assert set(error.code) <= set(string.ascii_lowercase + "-")
    assert 400 <= error.status <= 599


def an_instance_of(error: type[PaymentError]) -> PaymentError:
    """Make one with every fact that it has a place for."""
    required: dict[type[PaymentError], Callable[[], PaymentError]] = {
        http_errors.ApiKeyMissing: http_errors.ApiKeyMissing,
        http_errors.ApiKeyRefused: http_errors.ApiKeyRefused,
        http_errors.ScopeMissing: lambda: http_errors.ScopeMissing(scope="payments:read"),
        http_errors.MethodNotAllowed: lambda: http_errors.MethodNotAllowed(method="PUT", allowed="GET, HEAD"),
        http_errors.BodyTooSlow: lambda: http_errors.BodyTooSlow(timeout_s=10.0),
        http_errors.BodyTooLarge: lambda: http_errors.BodyTooLarge(limit=65_536),
        http_errors.MediaTypeUnsupported: lambda: http_errors.MediaTypeUnsupported(method="POST"),
        http_errors.HttpRefused: lambda: http_errors.HttpRefused(status=418, reason="teapot"),
        errors.ApiKeyMade: lambda: errors.ApiKeyMade(key_id="R7mQ2xVb"),
        errors.Unavailable: lambda: errors.Unavailable(retry_after_s=3),
        http_errors.FieldInvalid: lambda: http_errors.FieldInvalid(
            field="amount", rule=fields.MUST_BE_WHOLE, minimum=1, maximum=9
        ),
    }
    if error in required:
        return required[error]()
    facts = {name: f"<{name}>" for name in placeholders(error.message)}
    return error(field=facts.pop("field", None), **facts)


@pytest.mark.parametrize("language", [INDONESIAN, ENGLISH])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_can_be_told(error: type[PaymentError], language: str) -> None:
    words = words_of(an_instance_of(error), language)
    assert words
    assert "{" not in words, "a placeholder was left"


def test_the_words_that_others_rely_on() -> None:
    """design.md, 2: the front end compares these."""
    said = {
        words_of(error, INDONESIAN)
        for error in (
            http_errors.FieldsRequired(),
            errors.PaymentNotFound(),
            errors.BillSettled(order_id=1),
        )
    }
    assert said == {
        "order_id, user_id, dan amount wajib diisi",
        "Pembayaran tidak ditemukan",
        "Pesanan 1 sudah lunas",
    }


def test_a_wrong_field_is_named_with_its_rule_in_the_callers_language() -> None:
    wrong = FieldInvalid(field="amount", rule=fields.MUST_BE_WHOLE, minimum=1, maximum=9)
    assert words_of(wrong, INDONESIAN) == "amount harus bilangan bulat dari 1 sampai 9"
    assert words_of(wrong, ENGLISH) == "amount must be a whole number from 1 to 9"


def test_a_path_full_of_braces_is_shown_as_it_is() -> None:
    """What a caller sends is a fact, never a format."""
    error = http_errors.RouteNotFound(path="/{0}/{x!r:>9}/%s")
    assert words_of(error, ENGLISH) == "There is nothing at /{0}/{x!r:>9}/%s"


def refusal(schema: schemas.BodySchema, body: object) -> PaymentError | None:
    try:
        schema.read(body)
    except PaymentError as error:
        return error
    return None


@pytest.mark.parametrize("schema", schemas.BodySchema.__subclasses__(), ids=lambda schema: schema.__name__)
def test_whatever_a_body_schema_says_has_words(schema: type[schemas.BodySchema]) -> None:
    """A field that speaks Marshmallow's own English would end in a KeyError, so in a 500."""
    usual = {"order_id": 1, "user_id": 1, "amount": 1, "client": "kasir-1", "scopes": ["admin"]}
    usual |= {"status": "paid", "resolution": "kept"}
    reader = schema.described_by(resolve(description()["components"]["schemas"][schema.__name__]))
    values: list[Any] = [None, True, -1, 0, 1.5, "", "x", "x" * 100_000, [], {}, 2**53, float("nan")]
    for field in reader.fields:
        refused = [error for value in values if (error := refusal(reader, usual | {field: value}))]
        assert refused
        for error in refused:
            for language in (INDONESIAN, ENGLISH):
                assert field in words_of(error, language)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "id"),
        ("", "id"),
        ("id", "id"),
        ("id-ID", "id"),
        ("ID", "id"),
        ("en", "en"),
        ("EN", "en"),
        ("en-US", "en"),
        ("en-GB,en;q=0.9,id;q=0.8", "en"),
        ("en-US,en;q=0.5", "en"),
        ("id-ID,id;q=0.9,en-US;q=0.8,en;q=0.7", "id"),
        ("en;q=0.5,id;q=0.4", "en"),
        ("en;q=0.4,id;q=0.5", "id"),
        ("id;q=0.4, en", "en"),
        ("id;q=0, en;q=0.1", "en"),
        ("en;q=0", "id"),
        ("id;q=0, *", "en"),
        ("id;q=0, *;q=0", "id"),
        ("en;q=0, *", "id"),
        ("id;q=0", "id"),  # neither is wanted: better words that nobody wants than none
        ("fr", "id"),
        ("fr, en;q=0.1", "en"),
        ("fr;q=1, de;q=0.5", "id"),
        ("*", "id"),
        ("*;q=0.1", "id"),
        ("fr, *;q=0.1", "id"),
        ("english", "id"),
        ("e", "id"),
        (";;;,,,q=1", "id"),
        ("\x00\xff{}", "id"),
        ("en;q=much", "id"),
        ("en;q=nan", "id"),
        ("en;q=-1", "id"),
        ("x" * 10_000, "id"),
        ("en;" * 340, "en"),
        (",".join(["fr"] * 300) + ",en", "en"),
        (",".join(["fr"] * 3_000) + ",en", "id"),  # too long to be read
    ],
    ids=lambda text: None if text is None else text[:30].encode("ascii", "replace").decode(),
)
def test_the_language_is_indonesian_unless_english_is_wanted_more(header: str | None, language: str) -> None:
    assert choose_language(header) == language


@given(st.text(alphabet='idenfrUS*-;,q=.0123456789 \t"\x00é', max_size=60) | st.text(max_size=60))
def test_any_header_whatever_chooses_one_of_the_two(header: str) -> None:
    assert choose_language(header) in {INDONESIAN, ENGLISH}
