"""What a scrape of the metrics says, for tests."""

from collections import defaultdict

from prometheus_client.parser import text_string_to_metric_families

from processes import Service, http_client

Labels = frozenset[tuple[str, str]]


class Scrape:
    """The samples of a scrape.

    Args:
        text: what `GET /metrics` answered.
    """

    def __init__(self, text: str) -> None:
        self.kinds: dict[str, str] = {}
        self.samples: dict[str, dict[Labels, float]] = defaultdict(dict)
        for family in text_string_to_metric_families(text):
            assert family.name not in self.kinds, "the samples of a metric stand together"
            self.kinds[family.name] = family.type
            for name, labels, value, *_ in family.samples:
                self.samples[name][frozenset(labels.items())] = value

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that have these labels, and maybe more; 0 if there are none."""
        wanted = labels.items()
        return sum(value for given, value in self.samples.get(name, {}).items() if wanted <= set(given))

    def totals(self) -> set[tuple[str, float]]:
        """Return each name with the sum of its samples."""
        return {(name, sum(samples.values())) for name, samples in self.samples.items()}

    def values_of(self, name: str, label: str) -> set[str]:
        """Return the values that a label has."""
        return {value for labels in self.samples.get(name, {}) for key, value in labels if key == label}


def scrape(service: Service) -> Scrape:
    """Ask an API process for its metrics."""
    answer = service.http.get("/metrics")
    assert answer.status_code == 200, answer.text
    return Scrape(answer.text)


def scrape_worker(service: Service) -> Scrape:
    """Ask a worker that was started with METRICS_PORT=0."""
    (url,) = (line["metrics"] for line in service.log() if line["event"] == "worker started")
    with http_client() as http:
        answer = http.get(url)
    assert answer.status_code == 200
    return Scrape(answer.text)
