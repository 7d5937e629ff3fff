"""The standard variables of OpenTelemetry: which switch traces on, and what is wrong with them."""

import sys
from pathlib import Path

import pytest

from payment.core.settings import SettingsError, read_settings
from payment.core.tracing import open_tracer
from setting_files import empty_environment, problems

ALL = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
EXPORTER = "OTEL_TRACES_EXPORTER"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
TRACES_PROTOCOL = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
URL = "http://collector:4318"


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    empty_environment(monkeypatch)


@pytest.mark.parametrize(
    "given",
    [
        {EXPORTER: "otlp"},
        {ALL: URL},
        {TRACES: "https://user:geheim@collector.example/v1/traces"},
        {ALL: URL, "OTEL_SDK_DISABLED": "false"},
        {ALL: URL, "OTEL_SDK_DISABLED": "1"},
        {ALL: URL, PROTOCOL: "http/protobuf"},
        {ALL: URL, TRACES_PROTOCOL: "http/protobuf", PROTOCOL: "grpc"},
        {EXPORTER: "otlp", ALL: ""},
    ],
)
def test_these_switch_traces_on(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert read_settings().exports_traces


@pytest.mark.parametrize(
    "given",
    [
        {},
        {ALL: "", TRACES: "", EXPORTER: ""},
        {ALL: URL, EXPORTER: "none"},
        {ALL: URL, EXPORTER: "otlp", "OTEL_SDK_DISABLED": "TRUE"},
        {EXPORTER: "console", PROTOCOL: "grpc", ALL: "x", "OTEL_SDK_DISABLED": "true"},
        {PROTOCOL: "grpc"},
        {"OTEL_SERVICE_NAME": "kasir", "OTEL_TRACES_SAMPLER": "always_on"},
    ],
)
def test_these_do_not(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert open_tracer(read_settings()) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (EXPORTER, "console"),
        (EXPORTER, "otlp,console"),
        (EXPORTER, "zipkin"),
        (ALL, "collector:4318"),
        (TRACES, "grpc://collector:4317"),
        (ALL, "http://"),
        (ALL, "http://collector:99999"),
    ],
)
def test_what_cannot_be_had_stops_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    assert list(problems(monkeypatch, **{name: value})) == [name]


@pytest.mark.parametrize("name", [PROTOCOL, TRACES_PROTOCOL])
@pytest.mark.parametrize("value", ["grpc", "http/json"])
def test_so_does_another_protocol_once_traces_are_on(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    said = problems(monkeypatch, **{ALL: URL, name: value})
    assert list(said) == [name]
    assert "4318" in said[name][0]


def test_what_is_said_of_a_bad_endpoint_does_not_show_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    said = problems(monkeypatch, **{ALL: "grpc://user:geheim@collector"})
    assert "geheim" not in str(said)


def test_a_file_is_not_read_for_what_opentelemetry_reads_by_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "endpoint"
    file.write_text(URL)
    monkeypatch.setenv(f"{ALL}_FILE", str(file))
    assert not read_settings().exports_traces


def test_without_the_extra_who_asks_for_traces_is_told_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(ALL, URL)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(SettingsError, match=r"OTEL_TRACES_EXPORTER: .*payment\[otel\] is not installed"):
        open_tracer(read_settings())


def test_what_opentelemetry_refuses_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALL, URL)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")
    with pytest.raises(SettingsError, match=r"OTEL_\*: .*max_queue_size"):
        open_tracer(read_settings())
