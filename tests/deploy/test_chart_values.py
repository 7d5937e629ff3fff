"""The chart's values: documented, described by the schema, of settings that exist. Needs no Helm."""

import json
import re
from typing import Any

import jsonschema
import pytest
import yaml

from charts import CHART
from described import ROOT

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
NOT_OURS = {"PGPASSWORD"}  # read by PostgreSQL's library


def value_at(path: str) -> Any:
    value: Any = VALUES
    for name in path.split("."):
        value = value[name]
    return value


def leaves(values: dict[str, Any], path: str = "") -> list[str]:
    """Return the path of each value that is no group of values."""
    return [
        leaf
        for name, value in values.items()
        for leaf in (leaves(value, f"{path}{name}.") if isinstance(value, dict) and value else [path + name])
    ]


def documented() -> dict[str, str]:
    rows = re.findall(r"^\| `([\w.]+)` \| `(.*?)` \|", (CHART / "README.md").read_text(), re.MULTILINE)
    assert len(rows) > 30
    return dict(rows)


def as_value(said: str) -> Any:
    """Read a default as the table says it; a schedule begins like a number and is none."""
    return yaml.safe_load(said)


def test_every_value_is_documented_with_its_default() -> None:
    rows = documented()
    assert {path: as_value(said) for path, said in rows.items()} == {path: value_at(path) for path in rows}
    missing = [leaf for leaf in leaves(VALUES) if not any(f"{leaf}.".startswith(f"{row}.") for row in rows)]
    assert missing == []


def test_the_schema_takes_the_defaults_and_knows_no_other_names() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)
    assert SCHEMA["properties"].keys() - {"global"} == VALUES.keys()


WRONG: dict[str, dict[str, Any]] = {
    "an unknown name": {"replicas": 3},
    "an unknown name within": {"worker": {"replica": 3}},
    "a number as a setting": {"settings": {"LEASE_S": 30}},
    "a secret among the settings": {
        "settings": {"DATABASE_URL": "postgresql://payment:rahasia@postgres/payment"}
    },
    "a token among the settings": {"settings": {"ORDER_SERVICE_TOKEN": "rahasia"}},
    "a setting that a value says": {"settings": {"AUTH": "none"}},
    "another word for keys": {"auth": "yes"},
    "two hosts in one": {"allowedHosts": ["a,b"]},
    "no secret": {"existingSecret": ""},
    "a negative number": {"api": {"replicas": -1}},
    "a port that is none": {"service": {"port": 70_000}},
    "a budget that lets nobody go": {"disruptionBudget": {"maxUnavailable": 0}},
    "an API that nobody reaches": {"networkPolicy": {"apiFrom": []}},
    "an archive beside nothing": {"prune": {"exportTo": "archive"}},
    "half a schedule": {"prune": {"schedule": "30 3"}},
    "a tag with a name": {"image": {"repository": "restaurant/payment", "tag": "payment:1"}},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_wrong_values_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(VALUES | wrong, SCHEMA)


def test_its_settings_exist() -> None:
    listed = (ROOT / "docs" / "settings.md").read_text()
    known = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", listed)) | NOT_OURS
    for template in (CHART / "templates").glob("*"):
        said = set(re.findall(r'"([A-Z][A-Z_]+)"', template.read_text()))
        assert said <= known, template.name
    assert set(VALUES["settings"]) <= known
