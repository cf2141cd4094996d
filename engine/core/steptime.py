"""How long a step takes, learned while running."""


class StepTime:
    """Seconds of a step as fixed + a * rows + b * prefill tokens.

    Steps without prefill give the first two by weighted least squares over exponentially fading sums; what a step with
    prefill takes beyond that gives the third, as a fading mean. No estimate goes below zero.
    """

    _FADING = 0.98
    _NEWEST = 0.3
    _GROWTH = 4

    def __init__(self, fixed: float = 0.02, per_row: float = 0.001, per_prefill_token: float = 0.001) -> None:
        self._fixed = fixed
        self._per_row = per_row
        self._per_token = per_prefill_token
        self._weight = self._rows = self._squares = self._seconds = self._products = 0.0
        self._largest = 0

    def observe(self, rows: int, prefill_tokens: int, seconds: float) -> None:
        """A step of this shape took so long."""
        if prefill_tokens:
            beyond = (seconds - self.predict(rows, 0)) / prefill_tokens
            # One quick step must not open the gates: an estimate falls by no more than a few tenths at a time.
            self._per_token += self._NEWEST * (max(beyond, 0.0) - self._per_token)
            self._largest = max(self._largest, prefill_tokens)
            return
        keep = self._FADING
        self._weight = keep * self._weight + 1
        self._rows = keep * self._rows + rows
        self._squares = keep * self._squares + rows * rows
        self._seconds = keep * self._seconds + seconds
        self._products = keep * self._products + rows * seconds
        mean_rows, mean_seconds = self._rows / self._weight, self._seconds / self._weight
        variance = self._squares / self._weight - mean_rows**2
        if variance > 0.25:  # with a constant number of rows the slope stays as it was
            slope = (self._products / self._weight - mean_rows * mean_seconds) / variance
            self._per_row = max(slope, 0.0)
        self._fixed = max(mean_seconds - self._per_row * mean_rows, 0.0)

    def predict(self, rows: int, prefill_tokens: int) -> float:
        """Expected seconds of such a step."""
        return self._fixed + self._per_row * rows + self._per_token * prefill_tokens

    def prefill_budget(self, rows: int, bound: float, least: int) -> int:
        """Prefill tokens that fit beside `rows` decode rows into `bound` seconds.

        At least `least`, and no more than four times what has been tried before: beyond that nothing is known.
        """
        fitting = (bound - self.predict(rows, 0)) / max(self._per_token, 1e-7)
        return max(least, int(min(fitting, self._GROWTH * max(self._largest, least))))
