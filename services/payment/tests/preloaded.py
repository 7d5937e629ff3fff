"""What the fork server (`forked`) does once for all that it forks: import it, and validate our description.

Connexion holds a description against OpenAPI's own schema at each start, which is half of a forked one. Here
it does so once for each description; services that are started as people do (`test_process.py`) do as ever.
"""

import gc
import json
import warnings
from typing import Any

import forked  # noqa: F401 - each fork imports it, and pytest with it, to find what it has to run
from described import description

gc.disable()  # all that is loaded stays
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Connexion and what it loads warn of one another while they load
    import flask  # noqa: F401
    import uvicorn.lifespan.on
    import uvicorn.loops.uvloop  # noqa: F401
    import werkzeug.serving  # noqa: F401
    from connexion.spec import OpenAPISpecification

    import payment.serve
    import payment.telling.reconcile  # noqa: F401

Specification: Any = OpenAPISpecification  # Connexion ships no types
_validate = Specification._validate_spec
_valid: set[str] = set()


def _validate_once(spec: dict[str, Any]) -> None:
    said = json.dumps(spec)
    if said not in _valid:
        _validate(spec)
        _valid.add(said)


Specification._validate_spec = staticmethod(_validate_once)
Specification.from_dict(description())
gc.collect()
gc.enable()
gc.freeze()  # a fork's collections would touch, and so copy, all that is shared
