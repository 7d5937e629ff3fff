"""What Helm makes of the chart."""

import json
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from described import ROOT

CHART = ROOT / "deploy" / "helm" / "payment"
needs_helm = pytest.mark.skipif(
    find_spec("helm_python") is None, reason="no Helm library for this machine: the chart is not rendered"
)

Manifest = dict[str, Any]


class Refused(Exception):
    """Helm does not take these values."""


def render(values: dict[str, Any] | None = None, chart: Path = CHART) -> list[Manifest]:
    """Return all manifests of a release `pay` in the namespace `shop`.

    Raises:
        Refused: with what Helm says.
    """
    files: dict[str, str] = json.loads(ask_helm("render", chart, json.dumps(values or {})))
    texts = [text for name, text in sorted(files.items()) if name.endswith(".yaml")]
    return [manifest for text in texts for manifest in yaml.safe_load_all(text) if manifest]


@cache
def ask_helm(what: str, chart: Path = CHART, values: str = "{}") -> str:
    """Return what Helm says, as JSON. It is Go, which does not like to be forked: so in a process of its own.

    Raises:
        Refused: with what Helm says.
    """
    command = [sys.executable, str(Path(__file__).with_name("ask_helm.py")), what, str(chart), values]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise Refused(ran.stderr)
    return ran.stdout


def pod_of(manifest: Manifest) -> Manifest | None:
    """Return the pod that a Deployment, Job or CronJob starts; None for all else."""
    spec = manifest.get("spec", {})
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    pod: Manifest | None = spec.get("template")
    return pod


def component_of(manifest: Manifest) -> str:
    """Return api, worker, migrate or prune; nothing for what belongs to all."""
    return str(manifest["metadata"]["labels"].get("app.kubernetes.io/component", ""))
