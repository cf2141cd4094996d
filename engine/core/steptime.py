"""How long a step takes, learned while running."""

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

_KNOTS: Vector = np.array([0, 1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256, 512], float)
_CONTEXT_UNIT = 1e4  # tokens, so that the last number is of the size of the others
_SURE = 1e-12  # seconds squared: no knot is known better than to a microsecond


class StepTime:
    """Seconds of a step as f(rows) + b * context tokens + c * prefill tokens.

    f is a broken line through knots: kernels take rows by the tile, so that a few more can cost nothing and one more a
    lot. A Kalman filter (Kalman 1960) over the knots and b takes one observation for each step without prefill. What is
    known beforehand ties them together: a straight line, that steps become slower or quicker all together, and that
    neighbours differ little from it. So widths that were never tried follow from those that were, and what was learned
    of one is kept while others run. What a step with prefill takes beyond the prediction gives c, as a fading mean.

    What noise makes of the line is put right with each observation (a filter with constraints: Simon 2010): a step of
    more rows is never quicker and none takes less than no time, so neither is any prediction.
    """

    _NOISE = 0.06
    """Standard deviation of a step's time, as a part of it."""
    _SPEED = 0.008
    """That of how much quicker or slower all steps become from one to the next."""
    _BENDS = 0.12
    """That of knots from the straight line, before anything is known; and what of it is forgotten with each step."""
    _FORGOTTEN = 1e-4
    _CONTEXT = 4.0
    """That of what 10,000 tokens of context cost, in empty steps, before anything is known."""
    _OUTLIER = 3.0
    """Standard deviations from which on an observation counts as no more than that."""
    _NEWEST = 0.3
    _GROWTH = 4

    def __init__(self, fixed: float = 0.02, per_row: float = 0.001, per_prefill_token: float = 0.001) -> None:
        self._per_token = per_prefill_token
        self._largest = 0
        line = fixed + per_row * _KNOTS
        self._state: Vector = np.append(line, 0.0)
        distance = np.abs(np.subtract.outer(np.log2(_KNOTS + 1), np.log2(_KNOTS + 1)))
        self._bends: Matrix = np.zeros((len(line) + 1, len(line) + 1))
        self._bends[:-1, :-1] = np.outer(line, line) * np.exp(-distance) * self._BENDS**2
        straight = fixed**2 + np.outer(_KNOTS, _KNOTS) * per_row**2
        self._covariance: Matrix = self._bends.copy()
        self._covariance[:-1, :-1] += straight
        self._covariance[-1, -1] = (self._CONTEXT * fixed) ** 2

    @property
    def per_prefill_token(self) -> float:
        """Seconds that one more prefill token costs."""
        return self._per_token

    def per_row(self, rows: float = 0, more: int = 64) -> float:
        """Seconds that each of `more` rows costs beside so many, never negative."""
        return max(0.0, self.predict(rows + more, 0, 0) - self.predict(rows, 0, 0)) / more

    def observe(self, rows: int, context: int, prefill_tokens: int, seconds: float) -> None:
        """A step of this shape took so long. `context`: tokens that its rows attend to, shared ones once."""
        if prefill_tokens:
            beyond = (seconds - self.predict(rows, context, 0)) / prefill_tokens
            # One quick step must not open the gates: an estimate falls by no more than a few tenths at a time.
            self._per_token += self._NEWEST * (max(beyond, 0.0) - self._per_token)
            self._largest = max(self._largest, prefill_tokens)
            return
        state, covariance = self._state, self._covariance
        covariance += self._SPEED**2 * np.outer(state, state) + self._FORGOTTEN * self._bends
        shape = _shape(rows, context)
        spread = covariance @ shape
        expected = max(float(shape @ state), 1e-6)
        variance = float(shape @ spread) + (self._NOISE * expected) ** 2
        most = self._OUTLIER * variance**0.5
        surprise = min(max(seconds - expected, -most), most)
        state += spread * (surprise / variance)
        covariance -= np.outer(spread, spread) / variance
        state[:-1] = np.maximum(_rising(state[:-1], np.diag(covariance)[:-1]), 0.0)
        state[-1] = max(state[-1], 0.0)

    def predict(self, rows: float, context: float, prefill_tokens: int) -> float:
        """Expected seconds of such a step."""
        return float(_shape(rows, context) @ self._state) + self._per_token * prefill_tokens

    def prefill_budget(self, rows: int, context: int, bound: float, least: int) -> int:
        """Prefill tokens that fit beside `rows` decode rows into `bound` seconds.

        At least `least`, and no more than four times what has been tried before: beyond that nothing is known.
        """
        fitting = (bound - self.predict(rows, context, 0)) / max(self._per_token, 1e-7)
        return max(least, int(min(fitting, self._GROWTH * max(self._largest, least))))


def _shape(rows: float, context: float) -> Vector:
    """By how much each knot counts for so many rows: the two beside it, or the last two if there are more."""
    after = min(max(int(np.searchsorted(_KNOTS, rows)), 1), len(_KNOTS) - 1)
    part = (rows - _KNOTS[after - 1]) / (_KNOTS[after] - _KNOTS[after - 1])
    shape = np.zeros(len(_KNOTS) + 1)
    shape[after - 1], shape[after] = 1.0 - part, part
    shape[-1] = context / _CONTEXT_UNIT
    return shape


def _rising(line: Vector, variances: Vector) -> Vector:
    """The nearest line that falls nowhere, by how well each knot is known.

    By pooling neighbours that fall into their weighted mean (Ayer et al. 1955). A line that falls nowhere is returned
    as it is.
    """
    pools: list[tuple[float, float, int]] = []  # value, weight, number of knots
    for value, weight in zip(line.tolist(), (1.0 / np.maximum(variances, _SURE)).tolist(), strict=True):
        knots = 1
        while pools and pools[-1][0] > value:
            before, weighs, more = pools.pop()
            value = (before * weighs + value * weight) / (weighs + weight)
            weight += weighs
            knots += more
        pools.append((value, weight, knots))
    return np.repeat([value for value, _, _ in pools], [knots for _, _, knots in pools])
