"""How long a step takes, learned while running."""

import numpy as np


class StepTime:
    """Seconds of a step as fixed + a * rows + b * prefill tokens, by recursive least squares with forgetting.

    Source: Haykin, "Adaptive Filter Theory", chapter on the RLS algorithm. Negative coefficients count as zero in use.
    """

    FORGETTING = 0.98

    def __init__(self, fixed: float = 0.02, per_row: float = 0.001, per_prefill_token: float = 0.001) -> None:
        self._weights = np.array([fixed, per_row, per_prefill_token])
        # A first guess is trusted little: some ten steps replace it.
        self._covariance = np.diag([1e-1, 1e-3, 1e-4])

    def observe(self, rows: int, prefill_tokens: int, seconds: float) -> None:
        """A step of this shape took so long."""
        x = np.array([1.0, rows, prefill_tokens])
        gain = self._covariance @ x / (self.FORGETTING + x @ self._covariance @ x)
        self._weights = self._weights + gain * (seconds - x @ self._weights)
        covariance = (self._covariance - np.outer(gain, x @ self._covariance)) / self.FORGETTING
        # Directions that are not excited would grow without bound.
        self._covariance = np.clip((covariance + covariance.T) / 2, -1.0, 1.0)

    def predict(self, rows: int, prefill_tokens: int) -> float:
        """Expected seconds of such a step."""
        fixed, per_row, per_token = np.maximum(self._weights, 0.0).tolist()
        return fixed + per_row * rows + per_token * prefill_tokens

    def prefill_budget(self, rows: int, bound: float, least: int) -> int:
        """Prefill tokens that fit beside `rows` decode rows into `bound` seconds, at least `least`."""
        per_token = max(float(self._weights[2]), 1e-6)
        return max(least, int((bound - self.predict(rows, 0)) / per_token))
