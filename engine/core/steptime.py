"""How long a step takes, learned while running."""

import numpy as np
import numpy.typing as npt

Shape = npt.NDArray[np.float64]

_UNITS = np.array([1.0, 1.0, 1e-4])
"""Of a step, a row and a token of context, so that the three are of one size in the sums."""


class StepTime:
    """Seconds of a step as fixed + a * rows + b * context tokens + c * prefill tokens.

    Steps without prefill give the first three by least squares over exponentially fading sums, tied weakly to the last
    estimate: what the steps do not vary stays as it was. What a step with prefill takes beyond that gives the fourth,
    as a fading mean. No estimate goes below zero.
    """

    _FADING = 0.98
    _TIE = 0.05
    _NEWEST = 0.3
    _GROWTH = 4

    def __init__(self, fixed: float = 0.02, per_row: float = 0.001, per_prefill_token: float = 0.001) -> None:
        self._estimate = np.array([fixed, per_row, 0.0]) / _UNITS
        self._per_token = per_prefill_token
        self._products = np.zeros((3, 3))
        self._seconds = np.zeros(3)
        self._largest = 0

    @property
    def per_row(self) -> float:
        """Seconds that one more row costs."""
        return float(self._estimate[1])

    @property
    def per_prefill_token(self) -> float:
        """Seconds that one more prefill token costs."""
        return self._per_token

    def observe(self, rows: int, context: int, prefill_tokens: int, seconds: float) -> None:
        """A step of this shape took so long. `context`: tokens that its rows attend to, shared ones once."""
        if prefill_tokens:
            beyond = (seconds - self.predict(rows, context, 0)) / prefill_tokens
            # One quick step must not open the gates: an estimate falls by no more than a few tenths at a time.
            self._per_token += self._NEWEST * (max(beyond, 0.0) - self._per_token)
            self._largest = max(self._largest, prefill_tokens)
            return
        shape = np.array([1.0, rows, context]) * _UNITS
        self._products = self._FADING * self._products + np.outer(shape, shape)
        self._seconds = self._FADING * self._seconds + shape * seconds
        self._estimate = self._fit()

    def _fit(self) -> Shape:
        """The estimate, without the terms that would be negative, the least certain first."""
        for terms in ([0, 1, 2], [0, 1], [0]):
            tie = np.diag(self._TIE * np.maximum(np.diag(self._products)[terms], 1e-3)) * (1 - self._FADING)
            products = self._products[np.ix_(terms, terms)]
            found = np.linalg.solve(products + tie, self._seconds[terms] + tie @ self._estimate[terms])
            if (found >= 0).all() or terms == [0]:
                estimate = np.zeros(3)
                estimate[terms] = np.maximum(found, 0.0)
                return estimate
        raise AssertionError("one term can always be fitted")

    def predict(self, rows: float, context: float, prefill_tokens: int) -> float:
        """Expected seconds of such a step."""
        fixed, per_row, per_context = (self._estimate * _UNITS).tolist()
        return fixed + per_row * rows + per_context * context + self._per_token * prefill_tokens

    def prefill_budget(self, rows: int, context: int, bound: float, least: int) -> int:
        """Prefill tokens that fit beside `rows` decode rows into `bound` seconds.

        At least `least`, and no more than four times what has been tried before: beyond that nothing is known.
        """
        fitting = (bound - self.predict(rows, context, 0)) / max(self._per_token, 1e-7)
        return max(least, int(min(fitting, self._GROWTH * max(self._largest, least))))
