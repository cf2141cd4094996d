"""What stands in for pytest in the sandbox: `raises` and `approx`. Its text is sent with tests that use them."""

import inspect
from typing import Any

OFFERED = ("raises", "approx")


class pytest:
    """`pytest.raises` and `pytest.approx`, as far as tests of plain functions use them."""

    class raises:
        """Passes if its block raises one of the given classes, with a text that `match` is found in."""

        def __init__(self, expected: Any, match: str | None = None) -> None:
            self.expected = expected
            self.match = match
            self.value: BaseException | None = None

        def __enter__(self) -> Any:
            return self

        def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
            import re

            assert error is not None, f"{self.expected} was not raised"
            if not isinstance(error, self.expected):
                return False
            self.value = error
            assert self.match is None or re.search(self.match, str(error)), f"{self.match!r} is not in {error}"
            return True

    class approx:
        """Equal to a number, or to a list, tuple or dict of numbers, up to a relative 1e-6 or an absolute 1e-12."""

        def __init__(self, expected: Any, rel: float = 1e-6, abs: float = 1e-12) -> None:
            self.expected = expected
            self.rel = rel
            self.abs = abs

        def __eq__(self, other: object) -> bool:
            return self._near(other, self.expected)

        def __repr__(self) -> str:
            return f"approx({self.expected!r})"

        def _near(self, got: Any, expected: Any) -> bool:
            import math

            if isinstance(expected, dict):
                return got.keys() == expected.keys() and all(self._near(got[key], expected[key]) for key in expected)
            if isinstance(expected, (list, tuple)):
                return len(got) == len(expected) and all(map(self._near, got, expected))
            return math.isclose(got, expected, rel_tol=self.rel, abs_tol=self.abs)


STAND_IN = "from typing import Any\n\n" + inspect.getsource(pytest)
