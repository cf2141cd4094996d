"""Where a setting comes from: defaults < TOML file < THRESHER_* environment < flags; and how settings are written.

Keys that are no setting are refused by name.
"""

import difflib
import json
import os
import re
import textwrap
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from engine.config import Settings, section_fields
from engine.config_base import ConfigError, Section
from engine.config_cascade import TierSettings
from engine.config_shares import ShareSettings

ENVIRONMENT_PREFIX = "THRESHER_"
CONFIG_VARIABLE = "THRESHER_CONFIG"
# Kubernetes puts these into every pod beside a Service called "thresher-<section>"; nobody wrote them as settings.
_SERVICE_LINK = re.compile(r"_(SERVICE_(HOST|PORT)(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$")


class _Environment(EnvSettingsSource):
    """THRESHER_<SECTION>_<FIELD>, e.g. THRESHER_SERVING_DRAIN_SECONDS. Other THRESHER_ words belong to the client."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        named = super()._load_env_vars()
        return {name: value for name, value in named.items() if not _SERVICE_LINK.search(name.upper())}


class _Layered(Settings, BaseSettings):  # pyright: ignore[reportIncompatibleVariableOverride]
    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        env_ignore_empty=True,
        nested_model_default_partial_update=True,
    )


def load_settings(config: Path | None = None, flags: Mapping[str, Mapping[str, Any]] | None = None) -> Settings:
    """Read all layers. `flags` maps section -> field -> value; `config` defaults to the file named by THRESHER_CONFIG.

    Raises ConfigError naming every unknown key and every value that cannot be used.
    """
    if config is None and (named := os.environ.get(CONFIG_VARIABLE)):
        config = Path(named)
    if config is not None and not config.is_file():
        raise ConfigError(f"configuration file {config} does not exist")

    class Layers(_Layered):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            layers: tuple[PydanticBaseSettingsSource, ...] = (init_settings, _Environment(settings_cls))
            if config is not None:
                layers += (TomlConfigSettingsSource(settings_cls, toml_file=config),)
            return layers

    try:
        words: dict[str, Any] = {section: dict(fields) for section, fields in (flags or {}).items()}
        layered = Layers(**words)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{config}: {error}") from None
    return Settings(**{section: getattr(layered, section) for section in Settings.model_fields})


def parse_assignments(assignments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read `section.field=value` words, as `--set` takes them. Raises ConfigError for anything else."""
    flags: dict[str, dict[str, Any]] = {}
    for assignment in assignments:
        name, separator, value = assignment.partition("=")
        section, dot, field = name.strip().partition(".")
        if not (separator and dot and section and field):
            raise ConfigError(f"{assignment!r} is not of the form section.field=value")
        flags.setdefault(section, {})[field] = value.strip()
    return flags


def to_toml(settings: Settings) -> str:
    """The settings as a TOML file that `load_settings` reads, with a comment above each; absent values are comments."""
    lines: list[str] = []
    for section in Settings.model_fields:
        values: Section = getattr(settings, section)
        about = " ".join((type(values).__doc__ or "").split())
        lines += [*textwrap.wrap(about, width=118, initial_indent="# ", subsequent_indent="# "), f"[{section}]"]
        for field, description in section_fields(section).items():
            value = values.model_dump(mode="json")[field]
            lines += textwrap.wrap(description, width=118, initial_indent="# ", subsequent_indent="# ")
            lines.append(f"# {field} =" if value is None else f"{field} = {_toml_value(value)}")
        lines.append("")
    return "\n".join(lines)


def to_json(settings: Settings) -> str:
    """The settings as one JSON object of sections; absent values are null."""
    return json.dumps(settings.model_dump(mode="json"), indent=2)


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        given = {name: item for name, item in cast(dict[str, Any], value).items() if item is not None}
        return "{" + ", ".join(f"{name} = {_toml_value(item)}" for name, item in given.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in cast(list[Any], value)) + "]"
    # TOML's basic strings, booleans and numbers are written as JSON's, but for the delete character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _explain(error: ValidationError) -> str:
    return "\n".join(_explain_one(tuple(str(part) for part in one["loc"]), one) for one in error.errors())


_TABLES: dict[tuple[str, ...], type[Section]] = {
    ("cascade", "tiers"): TierSettings,
    ("engine", "shares"): ShareSettings,
}


def _explain_one(location: tuple[str, ...], one: Mapping[str, Any]) -> str:
    name = ".".join(location)
    if one["type"] != "extra_forbidden":
        message = str(one["msg"]).removeprefix("Value error, ")
        given = "" if isinstance(one["input"], dict | BaseModel) else f" (it is {one['input']!r})"
        return f"{name}: {message}{given}"
    known = list(Settings.model_fields) if len(location) == 1 else list(section_fields(location[0]))
    if (table := _TABLES.get(location[:2])) is not None:
        known = list(table.model_fields)
    close = difflib.get_close_matches(location[-1], known, n=1)
    advice = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"
    return f"{name}: no such setting; {advice}"
