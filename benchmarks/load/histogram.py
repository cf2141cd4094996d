"""Latencies in an HdrHistogram: three digits from a millisecond to a day, so that no percentile is a bucket's bound."""

from collections.abc import Iterable
from typing import Any

from benchmarks.experiments.errors import CannotRun

try:
    from hdrh.histogram import HdrHistogram  # pyright: ignore[reportMissingTypeStubs]
except ModuleNotFoundError as error:
    raise CannotRun("hdrhistogram is not installed; run: pip install 'thresher[bench]'") from error

_MOST = 24 * 3_600_000
_DIGITS = 3
SHOWN = (50.0, 90.0, 99.0)


class Latencies:
    """Seconds, kept in milliseconds (HdrHistogram: Tene 2012)."""

    def __init__(self, seconds: Iterable[float] = ()) -> None:
        self._kept: Any = HdrHistogram(1, _MOST, _DIGITS)
        for value in seconds:
            self.add(value)

    def add(self, seconds: float) -> None:
        """One more; what is below a millisecond counts as one, what is above a day as a day."""
        self._kept.record_value(min(_MOST, max(1, round(1000 * seconds))))

    def __len__(self) -> int:
        return int(self._kept.get_total_count())

    def at(self, percentile: float) -> float | None:
        """Seconds that `percentile` per cent do not exceed; None where there is nothing."""
        return float(self._kept.get_value_at_percentile(percentile)) / 1000 if len(self) else None

    def plain(self) -> dict[str, Any]:
        """Count, percentiles, the most, and the histogram itself in its interchange format, as JSON values."""
        shown = {f"p{percentile:g}": self.at(percentile) for percentile in SHOWN}
        most = float(self._kept.get_max_value()) / 1000 if len(self) else None
        return {"count": len(self), **shown, "most": most, "hdr": self._kept.encode().decode("ascii")}
