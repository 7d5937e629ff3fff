"""`make release`: what it refuses, and that what it makes is whole. The version stands in one place."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

from charts import CHART, needs_helm, render
from described import ROOT, description

VERSION: str = tomllib.loads((ROOT / "services/payment/pyproject.toml").read_text())["project"]["version"]


def test_what_else_names_the_version_names_the_same() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)
    assert description()["info"]["version"] == VERSION
    images = re.findall(r"image: restaurant/(\S+)", (ROOT / "docker-compose.yml").read_text())
    assert sorted(images) == sorted([f"stub:{VERSION}", f"payment:{VERSION}", f"payment:{VERSION}"])


def test_the_changelog_has_versions_with_their_days_the_newest_first() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    said = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d\d-\d\d)", heading) for heading in headings[1:]]
    versions = [tuple(int(number) for number in match.groups()[:3]) for match in said if match]
    assert len(versions) == len(said)
    assert versions == sorted(versions, reverse=True)
    assert versions[0] == tuple(int(number) for number in VERSION.split("."))


def run(command: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it with our environment alone, whatever the caller's git or settings are."""
    env = {"PATH": os.environ["PATH"], "HOME": str(cwd), "GIT_CONFIG_NOSYSTEM": "1"} | environment
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def git(cwd: Path, *arguments: str) -> str:
    as_somebody = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    ran = run(["git", *as_somebody, *arguments], cwd)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def release(checkout: Path, *arguments: str, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run `make release` in a .venv that is there already, with these programs instead of others."""
    instead = checkout.parent / "instead"
    for name, script in programs.items():
        instead.mkdir(exist_ok=True)
        (instead / name).write_text(f"#!/bin/sh\n{script}\n")
        (instead / name).chmod(0o755)
    as_it_is = (
        "-o",
        "install",
        "-o",
        ".venv/.deploy",
    )  # else what is newer here would be installed from there
    command = ["make", "--no-print-directory", *as_it_is, *arguments, "release"]
    return run(command, checkout, PATH=f"{instead}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a repository whose only commit is all that git knows here, as it is now."""
    copy = tmp_path / "checkout"
    known = run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        ROOT,
    )
    for name in known.stdout.split("\0"):
        if name and os.path.lexists(ROOT / name):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    git(copy, "init", "--quiet")
    (copy / ".venv").symlink_to(sys.prefix)
    (copy / ".git" / "info" / "exclude").write_text(".venv\n")
    changes = (copy / "CHANGELOG.md").read_text()
    unreleased = re.compile(r"(?<=## \[Unreleased\]\n\n).*?(?=^## \[)", re.DOTALL | re.MULTILINE)
    (copy / "CHANGELOG.md").write_text(unreleased.sub("", changes))  # as whoever releases does
    git(copy, "add", "--all")
    git(copy, "commit", "--quiet", "--message", "all")
    return copy


def test_a_release_is_whole(checkout: Path, tmp_path: Path) -> None:
    ran = release(checkout, docker='[ "$1" = info ] || echo "docker $@"')
    assert ran.returncode == 0, ran.stderr
    assert "NO IMAGE" not in ran.stderr
    image_bears_version_and_commit(ran.stdout, git(checkout, "rev-parse", "HEAD").strip())
    dist = checkout / "dist"
    made = {
        f"payment-{VERSION}-py3-none-any.whl",
        f"payment-{VERSION}.tar.gz",
        f"payment-chart-{VERSION}.tgz",
        f"payment-{VERSION}.requirements.txt",
        f"payment-{VERSION}.cdx.json",
    }
    assert {file.name for file in dist.iterdir()} == made | {"SHA256SUMS"}
    sums = dict(line.split()[::-1] for line in (dist / "SHA256SUMS").read_text().splitlines())
    assert sums == {name: hashlib.sha256((dist / name).read_bytes()).hexdigest() for name in made}
    assert git(checkout, "status", "--porcelain") == ""

    with tarfile.open(dist / f"payment-{VERSION}.tar.gz") as source:
        assert not [member.name for member in source if member.issym()]
    the_sbom_lists_what_is_locked(dist / f"payment-{VERSION}.cdx.json")
    the_wheel_works_alone(dist / f"payment-{VERSION}-py3-none-any.whl", tmp_path)


def the_wheel_works_alone(wheel: Path, tmp_path: Path) -> None:
    """No file of the repository is there, only the libraries that it asks for."""
    alone = tmp_path / "alone"
    install = [
        f"{sys.prefix}/bin/uv",
        "pip",
        "install",
        "--quiet",
        "--offline",
        "--no-deps",
        "--target",
        str(alone),
    ]
    installed = run([*install, "--python", sys.executable, str(wheel)], tmp_path)
    assert installed.returncode == 0, installed.stderr
    settings = {"PYTHONPATH": str(alone), "DATABASE_URL": f"sqlite:///{tmp_path / 'payment.db'}"}
    program = [sys.executable, str(alone / "bin" / "payment")]
    assert run([*program, "--version"], tmp_path, **settings).stdout == f"payment {VERSION}\n"
    assert run([*program, "migrate"], tmp_path, **settings).stdout == "Skema diperbarui / migrated\n"
    looked = run([sys.executable, "-c", LOOK_AROUND], tmp_path, **settings)
    assert json.loads(looked.stdout or looked.stderr) == {
        "package": str(alone / "payment"),
        "openapi": str(alone / "payment" / "openapi.yaml"),
        "message": "Pembayaran tidak ditemukan",
    }
    asked_for = (ROOT / "requirements" / "payment.in").read_text()
    metadata = (alone / f"payment-{VERSION}.dist-info" / "METADATA").read_text()
    assert set(re.findall(r"^Requires-Dist: ([\w-]+)", metadata, re.MULTILINE)) >= set(
        re.findall(r"^([\w-]+)", asked_for, re.MULTILINE)
    )


LOOK_AROUND = """
import json, pathlib, payment
from payment.core.settings import read_settings
from payment.web.messages import translate
from payment.web.specification import read_specification
settings = read_settings()
read_specification(settings.openapi_file)
print(json.dumps({
    "package": str(pathlib.Path(payment.__file__).parent),
    "openapi": str(settings.openapi_file),
    "message": translate("Payment not found", "id"),
}))
"""


def image_bears_version_and_commit(said: str, commit: str) -> None:
    told = next(line for line in said.splitlines() if line.startswith("docker build"))
    version = f"--tag restaurant/payment:{VERSION} --build-arg VERSION={VERSION}"
    assert f"{version} --build-arg REVISION={commit}" in told
    dockerfile = (ROOT / "services/payment/Dockerfile").read_text()
    assert "org.opencontainers.image.version=$VERSION" in dockerfile
    assert "org.opencontainers.image.revision=$REVISION" in dockerfile


def test_without_docker_it_says_that_there_is_no_image(checkout: Path) -> None:
    """Nothing is built here but the chart: what builds the rest does nothing."""
    programs = {"docker": "exit 1", "uv": "", "cyclonedx-py": ""}
    ran = release(checkout, f"BIN={checkout.parent / 'instead'}", **programs)
    assert ran.returncode == 0, ran.stderr
    said = f"NO IMAGE: no Docker engine answers; restaurant/payment:{VERSION} is still to be built"
    assert said in ran.stderr


def test_what_is_not_ready_is_not_released(checkout: Path) -> None:
    changes = checkout / "CHANGELOG.md"
    released = changes.read_text()
    changes.write_text(released.replace("## [Unreleased]\n", "## [Unreleased]\n\n- Something.\n"))
    dirty = release(checkout)
    assert (dirty.returncode, dirty.stderr.partition("\n")[0]) == (
        2,
        "not released: something here is not committed",
    )
    git(checkout, "commit", "--all", "--quiet", "--message", "something")
    unreleased = release(checkout)
    assert (unreleased.returncode, "under [Unreleased]" in unreleased.stderr) == (2, True)
    changes.write_text(released.replace(f"## [{VERSION}] - ", "## [0.0.1] - "))
    git(checkout, "commit", "--all", "--quiet", "--message", "another")
    unnamed = release(checkout)
    assert (unnamed.returncode, f"CHANGELOG.md has no [{VERSION}]" in unnamed.stderr) == (2, True)
    assert not (checkout / "dist").exists()


def the_sbom_lists_what_is_locked(made: Path) -> None:
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415  # takes its time, and only here
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415  # the same

    text = made.read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    component = bom["metadata"]["component"]
    assert (component["name"], component["version"]) == ("payment", VERSION)
    lock = (ROOT / "requirements/otel.txt").read_text()
    locked = re.findall(r"^([\w.-]+)==([\w.]+)", lock, re.MULTILINE)
    assert {(each["name"], each["version"]) for each in bom["components"]} == set(locked)
    assert all(each["externalReferences"][0]["hashes"] for each in bom["components"])


@needs_helm
def test_the_chart_of_a_release_is_one(tmp_path: Path) -> None:
    """A chart is its folder, packed: the recipe's own line, and Helm reads what it made."""
    packed = tmp_path / "payment-chart.tgz"
    subprocess.run(["tar", "-czf", packed, "-C", CHART.parent, CHART.name], check=True)
    assert render(chart=packed) == render()
