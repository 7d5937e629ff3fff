"""Verifies what the command line names, and says in words what was found."""

import contextlib
import sys
import traceback
from collections.abc import Sequence

from payment_contracts.access import REFUSED
from payment_contracts.options import Options, Target, read
from payment_contracts.providers import ORDER, USER, at_path
from payment_contracts.replay import find_contract, verify
from payment_contracts.states import PublicStates
from payment_contracts.verdict import BROKEN, HOLDS, INVALID, InvalidRunError, Result


def run(arguments: Sequence[str]) -> int:
    """Verify what was named; return the exit code."""
    try:
        options = read(arguments)
    except InvalidRunError as error:
        print(f"invalid run: {error}", file=sys.stderr)
        return INVALID
    codes = [_verify_target(target, options) for target in options.targets]
    # a broken contract is certain, whatever else could not be seen
    return BROKEN if BROKEN in codes else max(codes)


def _verify_target(target: Target, options: Options) -> int:
    """Verify Order or User, print what was found, return the exit code."""
    name = target.provider.name
    print(f"\n{name.capitalize()} at {target.access}, PUT {target.path}", flush=True)
    try:
        results, advice = _replay(target, options)
    except InvalidRunError as error:
        print(f"  invalid run: {error}")
        return INVALID
    except Exception:  # noqa: BLE001  # a fault of ours must not hide what was found of the other service
        print("  invalid run: this program itself failed", flush=True)
        traceback.print_exc()
        return INVALID
    for result in results:
        _print_result(result)
    broken = sum(bool(result.faults) for result in results)
    print(f"  {len(results) - broken} of {len(results)} interactions hold")
    if broken:
        general = f"answer as openapi/{name}.yaml says, or agree with Payment's team on a new contract"
        print(f"  what to do: {advice or general}")
    return BROKEN if broken else HOLDS


def _replay(target: Target, options: Options) -> tuple[list[Result], str | None]:
    """Return the results, and advice if what is wrong is known; raises InvalidRunError."""
    provider, access = target.provider, target.access
    contract = at_path(find_contract(options.contracts, "payment", provider.name), provider, target.path)
    if target.state_url:
        results = verify(contract, access, target.state_url)
        _check_token(target, results)
        return results, None
    needs_user = provider is ORDER and target.known_id is None
    user_id = _user_for_orders(options) if needs_user else 1
    states = PublicStates(provider, access, target.path, target.known_id, user_id)
    states.existing_id()  # or the set-up would be blamed on the provider
    results = verify(contract, access, states)
    _check_token(target, results)
    return results, _drift(target, states, results)


def _check_token(target: Target, results: Sequence[Result]) -> None:
    """Raise InvalidRunError if the service refused us: what follows from it is no broken contract."""
    for result in results:
        for status in REFUSED:
            if any(came == f"status {status}" for _, came, _ in result.faults):
                raise InvalidRunError(target.access.refusal(result.request, status))


def _print_result(result: Result) -> None:
    """Print a line for an interaction; if it is broken, what was expected and what came."""
    print(f"  {'BROKEN' if result.faults else 'holds':8} {result.description}")
    if result.faults:
        print(f"           {result.request}")
    for expected, came, _ in sorted(result.faults, key=lambda fault: fault[2] != "status"):
        print(f"             expected {expected}, came {came}")


def _user_for_orders(options: Options) -> int:
    """Return the user for whom an order is created: one given, one made, else 1."""
    if options.user_id is not None:
        return options.user_id
    with contextlib.suppress(InvalidRunError):
        for target in options.targets:
            if target.provider is USER:
                return PublicStates(USER, target.access, target.path, None).existing_id()
    return 1


def _drift(target: Target, states: PublicStates, results: Sequence[Result]) -> str | None:
    """Say plainly if the provider serves another path than the one verified, and which setting fits."""
    provider, path = target.provider, target.path
    if not any(fault[1] == "status 404" for result in results for fault in result.faults):
        return None
    with contextlib.suppress(InvalidRunError):  # what is broken is certain without it
        for other in provider.paths:
            if other != path and states.tell_paid(states.existing_id(), other).ok:
                return (
                    f"{target.access} serves PUT {other}, not PUT {path}. Either it serves {path}, "
                    f"or Payment runs with {provider.setting}={other} (verify with the same setting)"
                )
    return None
