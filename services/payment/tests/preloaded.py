"""What the fork server (`forked`) does once for all that it forks: import it, and read what never changes.

That is our description, which Connexion also resolves, and the words in Indonesian: more than half of a
forked start. Another description is read as ever, and services that are started as people do
(`test_process.py`) do all of it.
"""

import gc
import warnings
from pathlib import Path
from typing import Any

import forked  # noqa: F401 - each fork imports it, and pytest with it, to find what it has to run
from described import ROOT

gc.disable()  # all that is loaded stays
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Connexion and what it loads warn of one another while they load
    import flask  # noqa: F401
    import jinja2.ext  # noqa: F401
    import uvicorn.lifespan.on
    import uvicorn.loops.uvloop  # noqa: F401
    import werkzeug.serving  # noqa: F401
    from connexion import spec

    import payment.cli.program
    import payment.cli.serve_cmd
    import payment.cli.worker_cmd
    import payment.serve
    import payment.telling.reconcile
    import payment.web.app
    from payment.console import words
    from payment.web import messages
    from payment.web.specification import read_specification

Specification: Any = spec.Specification  # Connexion ships no types
_file = ROOT / "openapi" / "payment.yaml"
_text = _file.read_bytes()
_parsed = read_specification(_file)
_loaded = Specification.from_dict(_parsed)
_load = Specification.from_dict


def _read_quickly(file: Path) -> Any:
    return _parsed if file.read_bytes() == _text else read_specification(file)


def _load_quickly(described: Any, **options: Any) -> Any:
    # a fork makes one application, so nobody else has this one
    return _loaded if described is _parsed else _load(described, **options)


web_app: Any = payment.web.app  # it does not lend what it imports
web_app.read_specification = _read_quickly
Specification.from_dict = staticmethod(_load_quickly)
words.translations(words.INDONESIAN)
messages.translate("Payment not found", messages.INDONESIAN)
gc.collect()
gc.enable()
gc.freeze()  # a fork's collections would touch, and so copy, all that is shared
