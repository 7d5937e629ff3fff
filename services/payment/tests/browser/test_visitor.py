"""What tests of pages rest on: a visitor notices what no page may do, and axe what not everybody can use."""

import asyncio
from collections.abc import Iterator

import pytest

from chromium import Chromium, Visitor, check_accessible
from processes import Service

pytestmark = pytest.mark.parametrize("shared", ["sqlite"], indirect=True)

WELL = '<html lang="id"><title>Kasir</title><main><h1>Kasir</h1><button>Bayar</button></main></html>'
NOT_LEGIBLE = WELL.replace("<button>", '<button style="color: #999; background: #aaa">')
WITHOUT_A_NAME = WELL.replace("</main>", "<input></main>")
TOO_SMALL = WELL.replace(
    "<button>Bayar</button>", "<button style='all: unset; font-size: 8px; outline: 1px solid'>+</button>" * 2
)


@pytest.fixture
def visitor(chromium: Chromium, shared: Service) -> Iterator[Visitor]:
    """A visitor whose troubles are not the test's."""
    with chromium.in_use():
        visitor = chromium.visitor(shared.url)
        yield visitor
        visitor.troubles.clear()
        visitor.leave()


def test_a_page_that_does_nothing_wrong_is_no_trouble(visitor: Visitor) -> None:
    visitor.page.goto("/healthz")
    assert visitor.troubles == []


@pytest.mark.parametrize(
    ("does", "trouble"),
    [
        ("console.error('rusak')", "console error: rusak"),
        ("setTimeout(() => { throw new Error('rusak') })", "page error: rusak"),
        ("document.body.innerHTML += '<p style=\"color: red\">'", "Content Security Policy"),
        # a browser may judge a handler when it is written, or when it is to be called
        (
            "document.body.innerHTML += '<p onclick=\"1\">'; document.querySelector('p').click()",
            "Content Security Policy",
        ),
        ("new Image().src = 'http://elsewhere.example/x.png'", "Content Security Policy"),
    ],
)
def test_what_a_page_may_not_do_is_a_trouble(visitor: Visitor, does: str, trouble: str) -> None:
    visitor.page.goto("/healthz")  # its policy allows nothing
    with visitor.page.expect_event("pageerror" if "throw" in does else "console"):
        visitor.page.evaluate(f"() => {{ {does} }}")
    assert trouble in "\n".join(visitor.troubles)
    with pytest.raises(pytest.fail.Exception, match="the page:"):
        visitor.leave()


def test_a_request_to_another_host_is_a_trouble_and_gets_nowhere(visitor: Visitor) -> None:
    with visitor.page.expect_event("requestfailed"):
        visitor.page.set_content("<img src='http://elsewhere.example/x.png'>")
    assert "request to elsewhere: http://elsewhere.example/x.png" in visitor.troubles


def test_a_page_that_everybody_can_use_passes(visitor: Visitor) -> None:
    visitor.page.set_content(WELL)
    check_accessible(visitor.page)


@pytest.mark.parametrize(
    ("page", "rule"), [(NOT_LEGIBLE, "color-contrast"), (WITHOUT_A_NAME, "label"), (TOO_SMALL, "target-size")]
)
def test_a_page_that_not_everybody_can_use_fails(visitor: Visitor, page: str, rule: str) -> None:
    """Of WCAG 2.0 and 2.2."""
    visitor.page.set_content(page)
    with pytest.raises(pytest.fail.Exception, match=rf"(?s)not everybody can use the page:.*{rule} \("):
        check_accessible(visitor.page)


def test_other_tests_of_the_process_may_run_loops_of_their_own(chromium: Chromium, shared: Service) -> None:
    for _ in range(2):
        asyncio.run(asyncio.sleep(0))
        with chromium.in_use():
            visitor = chromium.visitor(shared.url)
            visitor.page.goto("/healthz")
            visitor.leave()
