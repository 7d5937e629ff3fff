"""Interactions of our own API: any HTTP client makes the call, and what counts is who reads the answer."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
from pact import match

from interaction import Interaction
from json_reading import Reader

UNKNOWN_ID = 999_999_999


def request_of(interaction: Interaction, url: str) -> httpx.Response:
    """Make the request of an interaction, as any HTTP client would."""
    return httpx.request(
        interaction.method,
        url.rstrip("/") + interaction.path.format(**interaction.parameters),
        json=interaction.request,
        headers=dict(interaction.request_headers),
        params=dict(interaction.query),
        trust_env=False,
        verify=False,
    )


def read_by(reads: Reader, interaction: Interaction) -> Interaction:
    """Return the interaction, called by somebody who reads the answer so."""
    return replace(interaction, reads=reads, call=lambda url: reads(request_of(interaction, url)))


def from_state(name: str, data_type: str) -> Mapping[str, str]:
    """Have the verifier put the provider's own value of a state's parameter here."""
    return {"type": "ProviderState", "expression": f"${{{name}}}", "dataType": data_type}


def ask(
    description: str,
    state: str,
    parameters: Mapping[str, int | str],
    route: tuple[str, str],
    code: int,
    answer: Any,
    reads: Reader,
    **more: Any,
) -> Interaction:
    """Return an interaction without a body, unless `more` has one."""
    interaction = Interaction(
        description=description,
        state=state,
        parameters=parameters,
        method=route[0],
        path=route[1],
        status=code,
        answer=answer,
        call=nobody,
        **{"request": None, **more},
    )
    return read_by(reads, interaction)


def nobody(url: str) -> None:
    """Stand for the call until it is known who reads the answer."""
    raise AssertionError(url)


def error(sample: str) -> Mapping[str, Any]:
    """Return the answer of every refusal; whoever reads the words reads them himself."""
    return {"error": match.str(sample)}
