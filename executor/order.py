"""Which test to run first: the one that failed most of a program's siblings will likely fail this one too."""

from collections import Counter, OrderedDict

_REMEMBERED = 1024


class KillOrder:
    """Counts, for each group of programs with the same tests, which tests ended them."""

    def __init__(self) -> None:
        self._kills: OrderedDict[tuple[str, int], Counter[int]] = OrderedDict()

    def order(self, group: str, tests: int) -> list[int]:
        """The indices of `tests` tests, those that killed most of `group` first, else as they come."""
        kills = self._kills.get((group, tests))
        if kills is None:
            return list(range(tests))
        return sorted(range(tests), key=lambda index: -kills[index])

    def note(self, group: str, tests: int, index: int) -> None:
        """Count a program of `group` that test `index` ended."""
        kills = self._kills.setdefault((group, tests), Counter())
        kills[index] += 1
        self._kills.move_to_end((group, tests))
        if len(self._kills) > _REMEMBERED:
            self._kills.popitem(last=False)
