"""How a metric comes to be: registered with its prefix, and told of for docs/metrics.md."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics

# A start time beside every counter and bucket set doubles the series, and nothing here reads them.
disable_created_metrics()

_PREFIX = "thresher_"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric as docs/metrics.md has it. `name` as a query writes it; `kind`: counter, gauge, histogram or info."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


class Families:
    """The metrics of one registry, in the order in which they were made. Names are given without the prefix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.told: list[Family] = []

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """A number that only grows; its name ends in `_total`."""
        return Counter(self._tell("counter", name, text, labels), text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """A number as it is now."""
        return Gauge(self._tell("gauge", name, text, labels), text, labels, registry=self.registry)

    def histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        """How often which values came; `buckets` are upper bounds, ascending."""
        name = self._tell("histogram", name, text, labels)
        return Histogram(name, text, labels, registry=self.registry, buckets=buckets)

    def info(self, name: str, text: str, *labels: str) -> Info:
        """Words about the process; its name is given without `_info`, which Prometheus adds."""
        self._tell("info", f"{name}_info", text, labels)
        return Info(f"{_PREFIX}{name}", text, registry=self.registry)

    def _tell(self, kind: str, name: str, text: str, labels: tuple[str, ...]) -> str:
        self.told.append(Family(f"{_PREFIX}{name}", kind, labels, text))
        return f"{_PREFIX}{name}"


def exemplar(trace_id: str | None) -> dict[str, str] | None:
    """What a time carries of the solve that it was measured in; None where no spans of it are kept."""
    return None if trace_id is None else {"trace_id": trace_id}
