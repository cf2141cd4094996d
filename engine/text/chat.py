"""Chat turns to one prompt text, by the template in the model's files, rendered in a sandbox."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.text.gguf_header import GgufHeader, read_header
from engine.text.json_file import JsonFile
from engine.text.vocabulary_json import special_texts

_GGUF_KEY = "tokenizer.chat_template"


class ChatTemplateError(ValueError):
    """The model's chat template does not take these messages, or is broken."""


class ChatTemplate:
    """How one model wants its chats written."""

    def __init__(self, template: Template, special: dict[str, str]) -> None:
        self._template = template
        self._special = special

    @classmethod
    def from_gguf(cls, path: Path) -> "ChatTemplate | None":
        """The template inside a GGUF file; None if the model has none. Raises GgufError or ChatTemplateError."""
        return cls.from_header(read_header(path))

    @classmethod
    def from_header(cls, header: GgufHeader) -> "ChatTemplate | None":
        """The template that a header holds; errors as from_gguf."""
        if _GGUF_KEY not in header.metadata:
            return None
        tokens = header.array("tokenizer.ggml.tokens")
        special: dict[str, str] = {}
        for name in ("bos", "eos"):
            key = f"tokenizer.ggml.{name}_token_id"
            if key in header.metadata:
                special[f"{name}_token"] = str(tokens[header.integer(key)])
        return cls(_compiled(header.text(_GGUF_KEY), f"{header.path}: {_GGUF_KEY}"), special)

    @classmethod
    def from_folder(cls, folder: Path) -> "ChatTemplate | None":
        """The template of a Hugging Face folder: chat_template.jinja, or the one in tokenizer_config.json.

        None if the model has none. Raises ModelFileError or ChatTemplateError.
        """
        own = folder / "chat_template.jinja"
        if own.is_file():
            return cls(_compiled(own.read_text(encoding="utf-8"), str(own)), special_texts(folder))
        file = JsonFile.read_if_there(folder / "tokenizer_config.json")
        found: Any = file.values.get("chat_template")
        if isinstance(found, list):  # several with names
            by_name = {part.text("name"): part.text("template") for part in map(file.inner, cast("list[Any]", found))}
            found = by_name.get("default")
        if found is None:
            return None
        if not isinstance(found, str):
            raise file.wrong("chat_template", "a string", found)
        return cls(_compiled(found, f"{file.path}: chat_template"), special_texts(folder))

    def render(self, messages: list[dict[str, str]]) -> str:
        """The prompt text that asks for the assistant's next turn; encode it with `special=True`.

        `messages` hold `role` and `content`. Raises ChatTemplateError if the template refuses them.
        """
        try:
            return self._template.render(messages=messages, add_generation_prompt=True, **self._special)
        except Exception as error:  # a template is a program of somebody else: it may raise anything
            raise ChatTemplateError(f"the model's chat template refuses these messages: {error}") from error


class _Generation(Extension):
    """`{% generation %}` marks what the assistant says, for training: here it only stands around it."""

    tags = {"generation"}  # noqa: RUF012  # as jinja2 declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The statements inside."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _compiled(text: str, where: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    cast("dict[str, Any]", environment.globals)["raise_exception"] = _refuse
    cast("dict[str, Any]", environment.globals)["strftime_now"] = _now
    cast("dict[str, Any]", environment.filters)["tojson"] = _to_json
    try:
        return environment.from_string(text)
    except TemplateError as error:
        raise ChatTemplateError(f"{where} is broken: {error}") from error


def _now(form: str) -> str:
    # Llama 3.1 and later are told the date.
    return datetime.now().strftime(form)


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _to_json(value: Any, indent: int | None = None) -> str:
    # Jinja's own filter escapes HTML, which no model was trained on.
    return json.dumps(value, ensure_ascii=False, indent=indent)
