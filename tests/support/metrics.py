"""Reading metrics as Prometheus does."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families


class Reading:
    """What one scrape has told: `reading("commerce_holds_total", outcome="placed")`, 0 for what is not there."""

    def __init__(self, text: str, *, openmetrics: bool = False) -> None:
        self.samples: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
        for family in (openmetrics_families if openmetrics else text_families)(text):
            for sample in family.samples:
                self.samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value

    def __call__(self, name: str, /, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        wanted = labels.items()
        return sum(value for key, value in self.samples.get(name, {}).items() if wanted <= key)

    def labels(self, name: str) -> list[Mapping[str, str]]:
        return [dict(key) for key in self.samples.get(name, {})]
