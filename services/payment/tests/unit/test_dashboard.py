"""deploy/grafana, and what `make up OBSERVE=1` adds: panels ask for what exists, services are closed in."""

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from described import ROOT
from promql import catalogue, known_metrics, names, problems, selectors

GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "payment.json").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OBSERVING = {"prometheus": ("9090", "PROMETHEUS_PORT"), "grafana": ("3000", "GRAFANA_PORT")}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def has_compose() -> bool:
    """Say whether there is a docker that knows `compose`: it is a plugin."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    return subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0


needs_compose = pytest.mark.skipif(
    not has_compose(), reason="there is no docker compose, of which only `config` is asked"
)


def queries() -> list[tuple[str, str]]:
    """Return title and query of each target, Grafana's own variables replaced."""
    return [
        (panel["title"], re.sub(r"\$__\w+", "5m", target["expr"]))
        for panel in PANELS
        for target in panel["targets"]
    ]


def test_every_panel_asks_for_what_exists() -> None:
    known = known_metrics()
    assert [(title, problem) for title, query in queries() for problem in problems(query, known)] == []


def test_every_metric_is_shown() -> None:
    shown = {
        re.sub(r"_(bucket|sum|count)$", "", selector.name)
        for _, query in queries()
        for selector in selectors(query)
    }
    there = {name for row in catalogue() for name in names(row["name"])}
    assert there - shown == set()


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus"
)
def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    recorded = [{"record": f"panel:{at}", "expr": query} for at, (_, query) in enumerate(queries())]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    checked = subprocess.run(
        ["promtool", "check", "rules", tmp_path / "panels.yml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert f"{len(recorded)} rules found" in checked.stdout


def test_the_rows_stand_in_the_order_in_which_an_operator_asks() -> None:
    rows = [panel["title"].split(" / ")[1] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == [
        "Is it well?",
        "Traffic",
        "Latency",
        "Batches and queue",
        "Telling Order and User",
        "Circuit",
        "Backlog",
        "Pending and events",
        "Database",
        "Processes",
    ]


def test_panels_are_named_in_both_languages_and_take_the_chosen_prometheus() -> None:
    for panel in PANELS:
        assert " / " in panel["title"] or panel["title"] in {"p50", "p99", "CPU"}
        assert " / " in panel.get("description", " / ")
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert [target["refId"] for target in panel["targets"]] == list("ABC")[: len(panel["targets"])]


def test_a_legend_names_the_labels_that_its_query_leaves() -> None:
    known = known_metrics()
    for target in [target for panel in PANELS for target in panel["targets"]]:
        query = target["expr"]
        grouped = set(names(",".join(re.findall(r" by \(([^)]*)\)", query)))) - {"le"}
        left = known[query].labels if query in known else grouped
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) == left, query


def test_no_panel_lies_over_another_and_no_id_is_used_twice() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for one, other in combinations([panel["gridPos"] for panel in DASHBOARD["panels"]], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
        assert max(one["x"] + one["w"], other["x"] + other["w"]) <= 24


def test_grafana_finds_its_dashboard_and_its_prometheus() -> None:
    services = COMPOSE["services"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert all((ROOT / source).is_dir() for source in mounts)
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/payment.yml").read_text())["providers"]
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/payment.json"
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"


def test_prometheus_scrapes_what_the_stack_has() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    api, worker = config["scrape_configs"]
    assert [api["job_name"], worker["job_name"]] == ["payment-api", "payment-worker"], "the rules say so"
    assert api["static_configs"] == [{"targets": ["port:5004"]}]
    (found,) = worker["dns_sd_configs"]
    assert found["names"] == ["worker"]
    assert COMPOSE["services"]["worker"]["environment"]["METRICS_PORT"] == str(found["port"])
    mounts = {volume.rsplit(":", 2)[-2] for volume in COMPOSE["services"]["prometheus"]["volumes"][:3]}
    used = {scrape["authorization"]["credentials_file"] for scrape in (api, worker)}
    assert used | {f"/etc/prometheus/{file}" for file in config["rule_files"]} <= mounts


@pytest.mark.parametrize("name", OBSERVING)
def test_what_observes_is_asked_for_by_name_and_closed_in_like_the_rest(name: str) -> None:
    service, api = COMPOSE["services"][name], COMPOSE["services"]["api"]
    assert service["profiles"] == ["observe"]
    for rule in ("restart", "init", "read_only", "cap_drop", "security_opt", "logging"):
        assert service[rule] == api[rule], rule
    port, setting = OBSERVING[name]
    assert service["ports"] == [f"127.0.0.1:${{{setting}:-{port}}}:{port}"]
    assert re.fullmatch(r".+:v?\d+\.\d+\.\d+", service["image"]), "an exact version"
    assert {"mem_limit", "healthcheck"} <= service.keys()
    assert all(mount.endswith(":ro") for mount in service["volumes"] if mount.startswith((".", "$")))


def test_nobody_logs_in_to_grafana_and_it_calls_nobody() -> None:
    said = COMPOSE["services"]["grafana"]["environment"]
    assert said["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == said["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert said["GF_ANALYTICS_REPORTING_ENABLED"] == said["GF_ANALYTICS_CHECK_FOR_UPDATES"] == "false"
    assert "GF_AUTH_ANONYMOUS_ORG_ROLE" not in said, "Viewer, unless it is said"


def made(*arguments: str) -> str:
    """Return what make would run."""
    return subprocess.run(
        ["make", "--dry-run", "--no-print-directory", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_make_up_observes_only_if_asked_and_down_ends_all() -> None:
    assert "docker compose --profile observe up " in made("up", "OBSERVE=1")
    assert "Grafana  http" in made("up", "OBSERVE=1")
    plain = made("up", "OBSERVE=")
    assert "docker compose  up " in plain
    assert "Grafana" not in plain
    assert "docker compose --profile observe down " in made("down", "OBSERVE=")


@needs_compose
@pytest.mark.parametrize(
    ("profile", "services", "volumes"),
    [([], set(), {"payments"}), (["--profile", "observe"], set(OBSERVING), {"payments", "metrics"})],
    ids=["plain", "observed"],
)
def test_compose_reads_the_stack(profile: list[str], services: set[str], volumes: set[str]) -> None:
    def config(what: str) -> set[str]:
        command = ["docker", "compose", *profile, "config", what]
        read = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert read.returncode == 0, read.stderr
        return set(read.stdout.split())

    assert config("--services") & set(OBSERVING) == services
    assert config("--volumes") == volumes
