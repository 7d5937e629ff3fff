"""The console's words: each in both languages, none left over."""

import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import payment.console
from payment.console.words import ENGLISH, INDONESIAN, translations

CONSOLE = Path(payment.console.__file__).parent
PLACEHOLDER = re.compile(r"%\(\w+\)s")
SAME_IN_BOTH = {"Filter", "Status", "Total", "Transfer"}


def words_in_templates() -> list[str | tuple[str, str]]:
    found = extract_from_dir(
        CONSOLE / "templates",
        method_map=[("**.html", "jinja2")],
        options_map={"**.html": {"extensions": "jinja2.ext.do", "silent": "false"}},
    )
    words: set[str | tuple[str, str]] = set()
    for _, _, message, _, _ in found:
        words.add(message if isinstance(message, str) else (message[0], message[1]))
    return sorted(words, key=str)


WORDS = words_in_templates()


def test_the_words_are_found() -> None:
    """Else the tests below would be content with nothing."""
    assert {"Today", "Refund…", ("%(num)s minute", "%(num)s minutes")} <= set(WORDS)


@pytest.mark.parametrize("words", WORDS, ids=str)
def test_every_word_is_in_indonesian_with_the_same_placeholders(words: str | tuple[str, str]) -> None:
    indonesian = translations(INDONESIAN)
    one, many = (words, words) if isinstance(words, str) else words
    said = indonesian.gettext(one) if one == many else indonesian.ngettext(one, many, 2)
    assert sorted(PLACEHOLDER.findall(said)) == sorted(PLACEHOLDER.findall(many))
    if one not in SAME_IN_BOTH and "%" not in one:
        assert said != one
    assert translations(ENGLISH).gettext(one) == one


def test_no_translation_is_left_over() -> None:
    with (CONSOLE / "locale" / "id.po").open("rb") as file:
        catalog = read_po(file, locale="id", abort_invalid=True)
    known = {message.id for message in catalog if message.id}
    assert {each if isinstance(each, str) else tuple(each) for each in known} == set(WORDS)
    assert not any(message.fuzzy for message in catalog if message.id)
