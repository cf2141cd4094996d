"""Chat turns to one prompt text, by the template in the model's file, rendered in a sandbox."""

import json
from pathlib import Path
from typing import Any, cast

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.text.gguf_header import GgufHeader, read_header


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
        if "tokenizer.chat_template" not in header.metadata:
            return None
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        cast("dict[str, Any]", environment.globals)["raise_exception"] = _refuse
        cast("dict[str, Any]", environment.filters)["tojson"] = _to_json
        try:
            template = environment.from_string(header.text("tokenizer.chat_template"))
        except TemplateError as error:
            raise ChatTemplateError(f"{header.path}: tokenizer.chat_template is broken: {error}") from error
        tokens = header.array("tokenizer.ggml.tokens")
        special: dict[str, str] = {}
        for name in ("bos", "eos"):
            key = f"tokenizer.ggml.{name}_token_id"
            if key in header.metadata:
                special[f"{name}_token"] = str(tokens[header.integer(key)])
        return cls(template, special)

    def render(self, messages: list[dict[str, str]]) -> str:
        """The prompt text that asks for the assistant's next turn; encode it with `special=True`.

        `messages` hold `role` and `content`. Raises ChatTemplateError if the template refuses them.
        """
        try:
            return self._template.render(messages=messages, add_generation_prompt=True, **self._special)
        except Exception as error:  # a template is a program of somebody else: it may raise anything
            raise ChatTemplateError(f"the model's chat template refuses these messages: {error}") from error


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _to_json(value: Any, indent: int | None = None) -> str:
    # Jinja's own filter escapes HTML, which no model was trained on.
    return json.dumps(value, ensure_ascii=False, indent=indent)
