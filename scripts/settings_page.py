"""Writes docs/settings.md from engine/config.py (`make settings`); a test says when it is out of date."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast, get_args

from pydantic import ByteSize

from engine.config import Settings
from engine.config_base import Section
from engine.config_cascade import TierSettings
from engine.config_shares import ShareSettings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
_HEAD = """# Settings

Generated from `engine/config.py` by `make settings`: change it there.

A setting comes from the first of these that has it: an option of `thresher serve`, the variable
`THRESHER_<SECTION>_<FIELD>`, the TOML file that `--config` or `THRESHER_CONFIG` names, the default. What is no setting
is refused by name.

```sh
thresher serve --print-config                          # all that is in force, as a TOML file to begin with
thresher serve --print-config --set limits.max_k=64    # any setting as an option
THRESHER_LIMITS_MAX_K=64 thresher serve --print-config --json
```

```toml
[limits]
max_k = 64

[executor]
remotes = ["local", "127.0.0.1:50052"]
```

Lists are arrays in TOML, and words with commas between them in variables and `--set`. Bytes are a number, or a text
such as `"2GiB"`. "none" is a setting that is absent: its meaning says what then holds.
"""
_TABLES = {"engine": ("engine.shares", ShareSettings), "cascade": ("cascade.tiers", TierSettings)}
"""Settings that are lists of tables, by their section."""
_BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for name, field in Settings.model_fields.items():
        parts += _section(name, cast(type[Section], field.annotation))
        if name in _TABLES:
            parts += _section(*_TABLES[name])
    return "\n".join(parts)


def _section(name: str, kind: type[Section]) -> Iterator[str]:
    schema = kind.model_json_schema()
    yield f"## {name}\n"
    yield f"{(kind.__doc__ or '').strip()}\n"
    yield "| setting | default | may be | meaning |"
    yield "| --- | --- | --- | --- |"
    for field, described in schema["properties"].items():
        meaning = " ".join(str(described.get("description", "")).split())
        size = _is_size(kind.model_fields[field].annotation)
        values = "bytes" if size else _values(described, schema.get("$defs", {}))
        cells = [f"`{name}.{field}`", _default(described), values, meaning]
        yield f"| {' | '.join(cell.replace('|', '\\|') for cell in cells)} |"
    yield ""


def _is_size(annotation: Any) -> bool:
    return annotation is ByteSize or any(_is_size(part) for part in get_args(annotation))


def _default(described: dict[str, Any]) -> str:
    if "default" not in described:
        return "has to be set"
    default = described["default"]
    if default in (None, "", []):
        return "none"
    if isinstance(default, list):
        return ", ".join(f"`{word}`" for word in cast(list[Any], default))
    return f"`{str(default).lower()}`" if isinstance(default, bool) else f"`{default}`"


def _values(described: dict[str, Any], kinds: dict[str, Any]) -> str:
    """The words that it may be, or its type and bounds."""
    options = [one for one in described.get("anyOf", [described]) if one.get("type") != "null"]
    found = options[0]
    if "$ref" in found:
        found = kinds[found["$ref"].rpartition("/")[2]]
    if "enum" in found:
        return ", ".join(f"`{word}`" for word in found["enum"])
    words = {"string": "text", "boolean": "true, false", "integer": "whole number", "number": "number", "array": "list"}
    kind = "path" if found.get("format") == "path" else words.get(found.get("type", ""), "table")
    bounds = [f"{said} {found[key]:,g}" for key, said in _BOUNDS.items() if key in found]
    return ", ".join([kind, *bounds])


def main() -> None:
    """Entry of the command line."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
