"""The examples of docs/sampling.md, run as a reader would."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sampling.md").read_text()
EXAMPLES: list[tuple[str, str]] = re.findall(
    r"^```python\n(.*?)^```\n```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
)


def run_page() -> None:
    """Every example after the other, in one namespace, against the server of THRESHER_ADDRESS."""
    names: dict[str, Any] = {}
    for code, wanted in EXAMPLES:
        printed: list[str] = []
        names["print"] = _writer(printed)
        exec(compile(code, "sampling.md", "exec"), names)  # noqa: S102
        assert "".join(printed) == wanted, code
    names["client"].close()


def _writer(printed: list[str]) -> Callable[..., None]:
    return lambda *words: printed.append(" ".join(map(str, words)) + "\n")
