"""docker-compose.yml gives each container what it needs, and no more; tests/e2e looks at the real ones."""

from typing import Any

import pytest
import yaml

from described import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_can_do_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "/tmp" in service["tmpfs"]
    assert not service.get("privileged")
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), "published on loopback alone"


def test_only_what_books_and_tells_reaches_the_database() -> None:
    """Its password has a default, so nobody else may come near: no port, and a network that leads nowhere."""
    postgres = SERVICES["postgres"]
    assert postgres["user"] == "postgres", "it never is root"
    assert "ports" not in postgres
    assert postgres["networks"] == ["database"]
    assert COMPOSE["networks"] == {"database": {"internal": True}}
    beside = {name for name, service in SERVICES.items() if "database" in service.get("networks", [])}
    assert beside == {"postgres", "migrate", "port", "worker"}
    assert SERVICES["api"]["network_mode"] == "service:port"


def test_the_workers_health_is_that_its_lanes_turn() -> None:
    worker = SERVICES["worker"]
    assert worker["environment"]["METRICS_PORT"] in str(worker["healthcheck"]["test"])
    assert "/healthz" in str(worker["healthcheck"]["test"])
