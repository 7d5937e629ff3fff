"""What a PromQL query asks for, and what is wrong with it: held against the metrics of docs/operations.md."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any

import yaml

from described import ROOT, description
from payment.core.neighbours import NEIGHBOURS
from payment.core.states import Outcome

RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
OPERATIONS_MD = ROOT / "docs" / "operations.md"
SCRAPED = frozenset({"job", "instance", "process"})
"""Labels that a scrape adds; `process` where several share a port."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[[^]]*\]|[A-Za-z_:][\w:]*|[\d.]+\w*|[=!]~|[=!<>]=|\S')
_NAME = re.compile(r"[A-Za-z_:]")
_WORDS = {"and", "or", "unless", "offset", "bool"}
_LABELS_FOLLOW = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_AGGREGATES = {"sum", "min", "max", "avg", "count", "absent"}


@dataclass(frozen=True)
class Metric:
    """A name that can be queried.

    Attributes:
        kind: counter, gauge, or "" where anything is right.
        labels: its own, without those that a scrape adds.
        bounds: `le` of a histogram's buckets as prometheus-client spells them; None if they are not said.
    """

    kind: str
    labels: frozenset[str]
    bounds: frozenset[str] | None = None


@dataclass(frozen=True)
class Selector:
    """A name in a query.

    Attributes:
        at: which token it is.
        matchers: what stands in its braces: label, operator, value.
        inside: the calls around it, the innermost last; "" for a mere parenthesis.
    """

    name: str
    at: int
    matchers: tuple[tuple[str, str, str], ...]
    inside: tuple[str, ...]


@cache
def catalogue() -> list[dict[str, str]]:
    """Return the rows of the table of metrics."""
    lines = OPERATIONS_MD.read_text().split("| name | type | labels |")[1].split("\n\n")[0].splitlines()[2:]
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(("name", "type", "labels", "what", "alert", "test"), row, strict=True)) for row in cells]


def names(text: str) -> list[str]:
    """Split `a, b`."""
    return [name.strip() for name in text.split(",") if name.strip()]


@cache
def known_metrics() -> dict[str, Metric]:
    """Return all that can be queried: the catalogue, what the rules record of it, and Prometheus' own."""
    known = {
        "up": Metric("gauge", frozenset()),
        "ALERTS": Metric("gauge", frozenset({"alertname", "alertstate"})),
    }
    for rule in rules():
        if "record" in rule:
            known[rule["record"]] = Metric("gauge", frozenset({rule["record"].split(":")[0]}))
    for row in catalogue():
        for name in names(row["name"]):
            known |= series_of(name, row["type"], frozenset(names(row["labels"])), row["what"])
    return known


def series_of(name: str, kind: str, labels: frozenset[str], what: str) -> dict[str, Metric]:
    """Return what a metric of the catalogue is scraped as."""
    if kind != "histogram":
        return {name: Metric(kind or ("counter" if name.endswith("_total") else "gauge"), labels)}
    said = re.search(r"buckets ([\d. ]+)", what)
    bounds = frozenset(str(float(bound)) for bound in said[1].split()) | {"+Inf"} if said else None
    return {
        f"{name}_bucket": Metric("counter", labels | {"le"}, bounds),
        f"{name}_sum": Metric("counter", labels),
        f"{name}_count": Metric("counter", labels),
    }


@cache
def rules() -> list[dict[str, Any]]:
    """Return the rules for Prometheus, alerts and recordings."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


@cache
def values() -> dict[str, list[str]]:
    """Return what the labels may say, of those whose values are known."""
    operations = [
        operation["operationId"].split(".")[-1]
        for path in description()["paths"].values()
        for operation in path.values()
        if isinstance(operation, dict) and "operationId" in operation
    ]
    scrapes = yaml.safe_load((RULES.parent / "prometheus.yml").read_text())["scrape_configs"]
    return {
        "service": list(NEIGHBOURS),
        "state": ["waiting", "dead"],
        "outcome": [str(outcome) for outcome in Outcome],
        "operation": [*operations, "none"],
        "status": [str(status.value) for status in HTTPStatus],
        "job": [scrape["job_name"] for scrape in scrapes],
        "alertname": list(alerts()),
        "alertstate": ["pending", "firing"],
    }


def tokens(query: str) -> list[str]:
    return _TOKEN.findall(query)


def selectors(query: str) -> list[Selector]:
    """Return each name that a query reads, with its matchers and the calls that it stands in."""
    found: list[Selector] = []
    said = tokens(query)
    calls: list[str] = []
    at = 0
    while at < len(said):
        token, following = said[at], said[at + 1] if at + 1 < len(said) else ""
        if token in _LABELS_FOLLOW:
            function, at = said[at - 1], said.index(")", at)
            if token in {"by", "without"}:
                assert said[at + 1] == "(", f"write sum by (…) (…): {query}"
                calls.append(function)
                at += 1
        elif token == "(":
            calls.append(said[at - 1] if at and _NAME.match(said[at - 1]) else "")
        elif token == ")":
            calls.pop()
        elif _NAME.match(token) and token not in _WORDS and following not in {"("} | _LABELS_FOLLOW:
            end = said.index("}", at) if following == "{" else at
            found.append(Selector(token, at, _matchers(said[at + 2 : end]), tuple(calls)))
            at = end
        at += 1
    return found


def _matchers(said: list[str]) -> tuple[tuple[str, str, str], ...]:
    flat = [token for token in said if token != ","]
    return tuple((flat[i], flat[i + 1], flat[i + 2][1:-1]) for i in range(0, len(flat), 3))


def problems(query: str, known: Mapping[str, Metric]) -> list[str]:
    """Say what is wrong with a query; nothing if it can have an answer."""
    asked = selectors(query)
    wrong = [f"{selector.name}: no such metric" for selector in asked if selector.name not in known]
    asked = [selector for selector in asked if selector.name in known]
    for selector in asked:
        metric = known[selector.name]
        wrong += _wrong_labels(selector, metric)
        wrong += _wrong_use(selector, metric, query)
    return [*wrong, *_wrong_groups(query, asked, known)]


def _wrong_labels(selector: Selector, metric: Metric) -> Iterable[str]:
    possible = values()
    for label, operator, value in selector.matchers:
        if label not in metric.labels | SCRAPED:
            yield f"{selector.name}: has no label {label}"
            continue
        can_be = sorted(metric.bounds) if label == "le" and metric.bounds else possible.get(label)
        pattern = value if "~" in operator else re.escape(value)
        if can_be is not None and not any(re.fullmatch(pattern, each) for each in can_be):
            yield f"{selector.name}: {label} is never {value}"


def _wrong_use(selector: Selector, metric: Metric, query: str) -> Iterable[str]:
    """A rate is a counter's, an average over time a gauge's; several processes are put together."""
    innermost = selector.inside[-1] if selector.inside else ""
    if innermost in {"rate", "increase"} and metric.kind != "counter":
        yield f"{selector.name}: {innermost} of a {metric.kind}"
    if innermost.endswith("_over_time") and metric.kind != "gauge":
        yield f"{selector.name}: {innermost} of a {metric.kind}"
    is_ours = selector.name.startswith(("payment_", "process_"))
    if is_ours and not _AGGREGATES & set(selector.inside):
        yield f"{selector.name}: not aggregated in {query}"


def _wrong_groups(query: str, asked: list[Selector], known: Mapping[str, Metric]) -> Iterable[str]:
    """A label in `by` has to be one of each metric inside, or all of them fall together."""
    said = tokens(query)
    for at, token in enumerate(said):
        if token not in _LABELS_FOLLOW:
            continue
        closed = said.index(")", at)
        grouped = [label for label in said[at + 2 : closed] if label != ","]
        inside = asked
        if token in {"by", "without"}:
            end = _closing(said, closed + 1)
            inside = [selector for selector in asked if closed < selector.at < end]
            if said[at - 5] == "histogram_quantile" and "le" not in grouped:
                yield f"histogram_quantile without le in {query}"
        for selector in inside:
            for label in grouped:
                if label not in known[selector.name].labels | SCRAPED:
                    yield f"{selector.name}: has no label {label}"


def _closing(said: list[str], opened: int) -> int:
    depth = 0
    for at in range(opened, len(said)):
        depth += {"(": 1, ")": -1}.get(said[at], 0)
        if depth == 0:
            return at
    raise AssertionError(f"( without ): {' '.join(said)}")
