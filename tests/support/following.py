"""What stands for a device's memory of its last draws: the tokens of rows that were planned before they were known."""

from engine.core.distribution import Distribution
from engine.core.types import UNKNOWN, Ask, Step


class Following:
    """Fills in the tokens of one step after the other."""

    def __init__(self) -> None:
        self._asks: list[Ask] = []
        self._answers: list[Distribution] = []

    def fill(self, step: Step) -> None:
        """Before a step is computed."""
        for chunk, (ask, number) in zip(step.chunks, step.after, strict=True) if step.after else []:
            assert chunk.tokens == [UNKNOWN]
            found = self._answers[ask]
            place = found.greedy if number is None else found.place(float(self._asks[ask].numbers[number]))
            assert place >= 0, "the draw of a row ahead falls into a gap"
            chunk.tokens = [int(found.ids[place])]

    def note(self, step: Step, results: list[list[Distribution]]) -> None:
        """After it."""
        self._asks = [ask for chunk in step.chunks for ask in chunk.asks]
        self._answers = [one for part in results for one in part]
