"""The files of a result."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.record import write
from benchmarks.report.html import html
from benchmarks.report.markdown import markdown
from benchmarks.report.page import Page


def write_all(out: Path, result: Mapping[str, Any], page: Callable[[Mapping[str, Any]], Page]) -> None:
    """Write OUT.json, and its pages beside it."""
    write(out, dict(result))
    write_pages(out, page(result))


def write_pages(out: Path, page: Page) -> list[Path]:
    """Write OUT.md and OUT.html; returns their paths."""
    written = [out.with_suffix(".md"), out.with_suffix(".html")]
    written[0].write_text(markdown(page))
    written[1].write_text(html(page))
    return written
