"""Templates become pages."""

import secrets
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from payment.console.figures import Clock, rupiah, seconds_since, whole
from payment.console.files import Files
from payment.console.words import LANGUAGES, translations
from payment.core.business_day import BusinessDays

if TYPE_CHECKING:
    from payment.console.visit import Visit

_FOLDER = Path(__file__).parent / "templates"


class Pages:
    """The templates, in both languages.

    Args:
        files: what pages load.
        days: the restaurant's.
        now_s: the time, seconds since the epoch.
    """

    def __init__(self, files: Files, days: BusinessDays, now_s: Callable[[], float] = time.time) -> None:
        self._now_s = now_s
        self._environments = {language: self._environment(language, files, days) for language in LANGUAGES}
        self.clocks = {language: Clock(days, language) for language in LANGUAGES}

    def render(self, name: str, visit: "Visit", /, **facts: Any) -> str:
        """Return a page as HTML, for this visit."""
        template = self._environments[visit.language].get_template(name)
        return template.render(visit=visit, now=self._now(), **facts)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._now_s(), UTC)

    def refused(self, language: str, words: str) -> bytes:
        """Return a page that needs no visit: why a request did not get to one."""
        return self._environments[language].get_template("refused.html").render(words=words).encode()

    def today(self, language: str) -> date:
        """Return the restaurant's date."""
        return date.fromisoformat(self.clocks[language].day_of(self._now().isoformat()))

    def _environment(self, language: str, files: Files, days: BusinessDays) -> Environment:
        environment = Environment(
            loader=FileSystemLoader(_FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
        )
        environment.install_gettext_translations(translations(language), newstyle=True)  # type: ignore[attr-defined]  # of the extension
        environment.filters |= {"rupiah": rupiah, "whole": whole}
        environment.globals |= {
            "language": language,
            "clock": Clock(days, language),
            "file": files.url,
            "once": lambda: secrets.token_urlsafe(16),
            "seconds_since": seconds_since,
        }
        return environment
