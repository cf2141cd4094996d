"""Metrics as a scrape sees them: series at a moment, what they have grown by, and quantiles of histograms."""

import math
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

Key = tuple[str, tuple[tuple[str, str], ...]]
"""A series: its name as a query writes it, and its labels in order."""
Book = dict[Key, float]


def key(name: str, **labels: str) -> Key:
    """A series by its name and labels."""
    return name, tuple(sorted(labels.items()))


def read(text: str) -> Book:
    """All series of an exposition in Prometheus's text format."""
    found: Book = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[key(sample.name, **sample.labels)] = float(sample.value)
    return found


def grown(before: Mapping[Key, float], after: Mapping[Key, float]) -> Book:
    """What each series has grown by; one that was not there before began at zero."""
    return {series: value - before.get(series, 0.0) for series, value in after.items()}


def total(book: Mapping[Key, float], name: str, **labels: str) -> float:
    """The sum of all series of that name that have these labels."""
    wanted = set(labels.items())
    return sum(value for (found, labelled), value in book.items() if found == name and wanted <= set(labelled))


def quantile(book: Mapping[Key, float], share: float, name: str, **labels: str) -> float | None:
    """The quantile of a histogram's observations, on a straight line within a bucket, as Prometheus has it.

    `name` without "_bucket"; `book`: what the buckets have grown by. None without an observation; the largest finite
    bound for what lies beyond it.
    """
    wanted, counts = set(labels.items()), dict[float, float]()
    for (found, labelled), value in book.items():
        said = dict(labelled)
        if found == f"{name}_bucket" and wanted <= set(labelled):
            bound = float(said["le"])
            counts[bound] = counts.get(bound, 0.0) + value
    rank = share * counts.get(math.inf, 0.0)
    if rank <= 0:
        return None
    lower, below = 0.0, 0.0
    for bound, count in sorted(counts.items()):
        if count >= rank:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return lower
