"""The chart as Helm renders it: Kubernetes takes it, its pods may do nothing, and its parts fit together."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts import CHART, Manifest, Refused, ask_helm, component_of, needs_helm, pod_of, render
from payment.core.settings import Settings, read_settings

pytestmark = needs_helm

EVERYTHING: dict[str, Any] = {
    "image": {"tag": "1.2.3"},
    "imagePullSecrets": [{"name": "registry"}],
    "auth": "none",
    "allowedHosts": ["pay.example"],
    "settings": {"PENDING_EXPIRES_S": "3600", "HOST": "::"},
    "networkPolicy": {"metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
    "monitoring": {"enabled": True, "labels": {"release": "prometheus"}},
    "service": {"annotations": {"a": "b"}},
    "disruptionBudget": {"maxUnavailable": "50%"},
    "priorityClassName": "money",
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "cashier"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {"podAffinity": {}},
    "extraVolumes": [{"name": "ca", "secret": {"secretName": "order-ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca", "readOnly": True}],
}
LITTLE: dict[str, Any] = {
    "prune": {"enabled": False},
    "disruptionBudget": {"enabled": False},
    "networkPolicy": {"enabled": False},
}
VARIANTS: dict[str, dict[str, Any]] = {"as it is": {}, "everything": EVERYTHING, "little": LITTLE}
OPERATOR = {"ServiceMonitor", "PodMonitor"}  # of the Prometheus operator, not of Kubernetes

any_variant = pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)


def names(manifests: list[Manifest]) -> set[str]:
    """Return kind and name of each, without what all names begin with."""
    said = {f"{each['kind']} {each['metadata']['name']}" for each in manifests}
    assert all(" pay-payment" in name for name in said)
    return {name.replace(" pay-payment-", " ").replace(" pay-payment", "") for name in said}


def containers(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return each component's container."""
    pods = {component_of(each): pod for each in manifests if (pod := pod_of(each))}
    return {name: pod["spec"]["containers"][0] for name, pod in pods.items()}


def of(manifests: list[Manifest], kind: str, component: str) -> Manifest:
    found = [each for each in manifests if (each["kind"], component_of(each)) == (kind, component)]
    assert len(found) == 1
    return found[0]


def test_helm_has_nothing_against_it() -> None:
    said = json.loads(ask_helm("lint"))
    assert said["errors"] == []
    assert [each["error"] for each in said["messages"]] == ["icon is recommended"]


def test_what_there_is() -> None:
    always = {"Deployment api", "Deployment worker", "Job migrate", "Service"}
    usual = {
        *("CronJob prune", "NetworkPolicy", "NetworkPolicy api"),
        *("PodDisruptionBudget api", "PodDisruptionBudget worker"),
    }
    more = {"NetworkPolicy worker", "ServiceMonitor api", "PodMonitor worker"}
    assert names(render(LITTLE)) == always
    assert names(render()) == always | usual
    assert names(render(EVERYTHING)) == always | usual | more


@any_variant
def test_kubernetes_takes_it(values: dict[str, Any]) -> None:
    """The oldest version that Chart.yaml allows, and the newest whose schemas there are; no unknown field."""
    import kubernetes_validate  # noqa: PLC0415  # a second, which only this test is to take

    oldest = yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]
    manifests = [each for each in render(values) if each["kind"] not in OPERATOR]
    for version in (re.findall(r"\d+\.\d+", oldest)[0], kubernetes_validate.latest_version()):
        for manifest in manifests:
            kubernetes_validate.validate(manifest, version, strict=True)


@any_variant
def test_no_pod_may_do_what_it_does_not_need(values: dict[str, Any]) -> None:
    """More than what Kubernetes calls `restricted` demands."""
    pods = [pod for each in render(values) if (pod := pod_of(each))]
    assert len(pods) >= 3
    for pod in pods:
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert all({"emptyDir", "secret"} & volume.keys() for volume in spec["volumes"])
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"requests", "limits"} <= container["resources"].keys()
            assert "memory" in container["resources"]["limits"]


def settings_of(container: Manifest, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Read a container's environment as the program does, with a secret that has all that it may have."""
    secret = {
        "DATABASE_URL": "postgresql://payment@postgres/payment",
        "DATABASE_LISTEN_URL": "postgresql://payment@primary/payment",
        "DATABASE_DIRECT_URL": "postgresql://payment@primary/payment",
        "PGPASSWORD": "rahasia",
        "CONSOLE_SECRET": "s" * 32,
        "ORDER_SERVICE_TOKEN": "satu",
        "USER_SERVICE_TOKEN": "dua",
    }
    for variable in container["env"]:
        if "value" in variable:
            value = variable["value"]
        else:
            key = variable["valueFrom"]["secretKeyRef"]
            assert key["name"] == "payment"
            assert key.get("optional", False) is (variable["name"] != "DATABASE_URL")
            value = secret[key["key"]]
        monkeypatch.setenv(variable["name"], value)
    return read_settings()


@any_variant
def test_the_settings_are_right_and_the_same_for_all(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, *others = [settings_of(each, monkeypatch) for each in containers(render(values)).values()]
    assert others == [settings] * len(others)
    assert settings.database_url.host == "postgres"
    assert (settings.port, settings.metrics_port) == (5004, 9464)
    assert settings.auth == values.get("auth", "keys")
    assert settings.host == ("::" if values is EVERYTHING else "0.0.0.0")
    names = {"pay-payment", "pay-payment.shop", "pay-payment.shop.svc", "pay-payment.shop.svc.cluster.local"}
    assert set(settings.allowed_hosts) == names | set(values.get("allowedHosts", []))
    assert settings.neighbours["order"].token == "satu"


def test_what_runs_where() -> None:
    rendered = containers(render())
    assert {name: each["args"] for name, each in rendered.items()} == {
        "api": ["serve", "--no-worker"], "worker": ["worker"], "migrate": ["migrate"], "prune": ["prune"],
    }  # fmt: skip
    archiving = containers(render({"prune": {"exportTo": "/archive"}}))["prune"]["args"]
    assert archiving == ["prune", "--export", "/archive"]
    for name, port in (("api", "PORT"), ("worker", "METRICS_PORT")):
        said = {each["name"]: each.get("value") for each in rendered[name]["env"]}[port]
        assert [str(each["containerPort"]) for each in rendered[name]["ports"]] == [said]


def test_the_migration_comes_before_all_else_and_may_have_an_address_of_its_own() -> None:
    manifests = render({"migration": {"databaseUrlKey": "DIRECT_URL", "timeoutS": 60}})
    hooks = {each["metadata"]["name"]: each for each in manifests if "annotations" in each["metadata"]}
    assert list(hooks) == ["pay-payment-migrate"]
    job = hooks["pay-payment-migrate"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["activeDeadlineSeconds"] == 60
    rendered = containers(manifests)
    keys = {name: each["env"] for name, each in rendered.items()}
    said = {
        name: variable["valueFrom"]["secretKeyRef"]["key"]
        for name, env in keys.items()
        for variable in env
        if variable["name"] == "DATABASE_URL"
    }
    assert said == dict.fromkeys(said, "DATABASE_URL") | {"migrate": "DIRECT_URL"}


def test_workers_can_be_new_before_the_api_is(tmp_path: Path) -> None:
    """The two steps of README.md: the first one leaves the API's pods as they are, to the letter."""
    newer = shutil.copytree(CHART, tmp_path / "payment")
    file = newer / "Chart.yaml"
    now = str(yaml.safe_load(file.read_text())["version"])
    file.write_text(file.read_text().replace(now, "9.9.9"))
    before, between, after = (
        render(),
        render({"api": {"tag": now}}, newer),
        render({"api": {"tag": ""}}, newer),
    )
    for step, api, worker in ((before, now, now), (between, now, "9.9.9"), (after, "9.9.9", "9.9.9")):
        images = {name: each["image"].partition(":")[2] for name, each in containers(step).items()}
        assert images == {"api": api, "worker": worker, "migrate": worker, "prune": worker}
    assert pod_of(of(between, "Deployment", "api")) == pod_of(of(before, "Deployment", "api"))


def test_nobody_is_ended_before_it_has_answered() -> None:
    """Our processes end within ten seconds, after the pause in which balancers learn of it."""
    for component, pause_s in (("api", 5), ("worker", 0)):
        deployment = of(render(), "Deployment", component)
        pod = deployment["spec"]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] >= pause_s + 12
        if pause_s:
            pause = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
            assert pause == ["sleep", str(pause_s)]
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_the_probes_ask_what_is_there() -> None:
    rendered = containers(render())
    api, worker = rendered["api"], rendered["worker"]
    assert api["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert api["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert worker["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    assert worker["readinessProbe"]["httpGet"] == {"path": "/metrics", "port": "metrics"}


def test_each_selector_finds_the_pods_that_it_means() -> None:
    manifests = render(EVERYTHING)
    labels = {component_of(each): pod["metadata"]["labels"] for each in manifests if (pod := pod_of(each))}
    selecting = 0
    for manifest in manifests:
        spec = manifest["spec"]
        selector = spec.get("podSelector") or spec.get("selector")
        if selector is None:
            continue
        wanted = selector.get("matchLabels", selector)
        found = {component for component, said in labels.items() if wanted.items() <= said.items()}
        meant = component_of(manifest)
        assert found == ({meant} if meant else set(labels)), manifest["metadata"]["name"]
        selecting += 1
    assert selecting == 10


def test_who_may_reach_whom() -> None:
    manifests = render(EVERYTHING)
    prometheus = EVERYTHING["networkPolicy"]["metricsFrom"]
    everybody = of(manifests, "NetworkPolicy", "")["spec"]
    assert (everybody["policyTypes"], everybody["ingress"]) == (["Ingress", "Egress"], [])
    ports = [port["port"] for rule in everybody["egress"] for port in rule["ports"]]
    assert ports == [53, 53, 5432, 5003, 5001]
    api = of(manifests, "NetworkPolicy", "api")["spec"]["ingress"]
    assert api == [{"from": [{"podSelector": {}}, *prometheus], "ports": [{"port": "http"}]}]
    worker = of(manifests, "NetworkPolicy", "worker")["spec"]["ingress"]
    assert worker == [{"from": prometheus, "ports": [{"port": "metrics"}]}]


def job(name: str) -> dict[str, Any]:
    """Return what names a job as deploy/prometheus and deploy/grafana do."""
    return {"relabelings": [{"targetLabel": "job", "replacement": name}]}


def test_the_monitors_bring_a_key_where_one_is_asked_for() -> None:
    values = {"monitoring": {"enabled": True, "keySecret": {"name": "prometheus", "key": "token"}}}
    credentials = {"type": "Bearer", "credentials": {"name": "prometheus", "key": "token"}}
    expected = {"port": "http", "path": "/metrics", "interval": "30s"} | job("payment-api")
    keyed = of(render(values), "ServiceMonitor", "api")["spec"]["endpoints"]
    assert keyed == [expected | {"authorization": credentials}]
    assert of(render(EVERYTHING), "ServiceMonitor", "api")["spec"]["endpoints"] == [expected]
    worker = of(render(EVERYTHING), "PodMonitor", "worker")["spec"]["podMetricsEndpoints"]
    assert worker == [expected | {"port": "metrics"} | job("payment-worker")]
    with pytest.raises(Refused, match=r"keySecret\.name: the secret with an API key"):
        render({"monitoring": {"enabled": True}})


def test_helm_refuses_what_the_schema_does() -> None:
    with pytest.raises(Refused, match="replica"):
        render({"api": {"replica": 3}})
