"""Which test to run first: the one that failed most of a program's siblings will likely fail this one too."""

from collections import Counter, OrderedDict

from executor.types import Test

_REMEMBERED = 1024


class KillOrder:
    """Counts, for programs with the same tests, which tests ended them. They are known by the hash of their tests."""

    def __init__(self) -> None:
        self._kills: OrderedDict[int, Counter[int]] = OrderedDict()

    def order(self, tests: tuple[Test, ...]) -> list[int]:
        """The indices of `tests`, those that killed most programs first, else as they come."""
        kills = self._kills.get(hash(tests))
        if kills is None:
            return list(range(len(tests)))
        return sorted(range(len(tests)), key=lambda index: -kills[index])

    def note(self, tests: tuple[Test, ...], index: int) -> None:
        """Count a program that test `index` ended."""
        siblings = hash(tests)
        self._kills.setdefault(siblings, Counter())[index] += 1
        self._kills.move_to_end(siblings)
        if len(self._kills) > _REMEMBERED:
            self._kills.popitem(last=False)
