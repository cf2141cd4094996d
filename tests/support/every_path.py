"""All the ways through the choices of a test, one after the other."""

from collections.abc import Callable, Iterator


def every_path[T](play: Callable[[Callable[[int], int]], T]) -> Iterator[T]:
    """Call `play` once for each way through its choices: it is given `choose(n)`, which returns a number below n.

    What `play` offers may depend on what was chosen before, on nothing else.
    """
    path: list[tuple[int, int]] = []  # (choice, of how many)
    while True:
        step = 0

        def choose(options: int) -> int:
            nonlocal step
            if step == len(path):
                path.append((0, options))
            choice, before = path[step]
            assert before == options, "the same choices lead to another place"
            step += 1
            return choice

        yield play(choose)
        assert step == len(path), "the same choices lead to another place"
        while path and path[-1][0] + 1 == path[-1][1]:
            path.pop()
        if not path:
            return
        path[-1] = path[-1][0] + 1, path[-1][1]
