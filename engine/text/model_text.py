"""How one model reads and writes text: tokenizer, chat template and form of infilling, from either kind of files."""

from dataclasses import dataclass
from pathlib import Path

from engine.text.chat import ChatTemplate
from engine.text.gguf_header import read_header
from engine.text.infill import InfillForm
from engine.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class ModelText:
    """`template` and `infill` are None for a model that was not trained for chats or for infilling."""

    tokenizer: Tokenizer
    template: ChatTemplate | None
    infill: InfillForm | None


def read_model_text(path: Path) -> ModelText:
    """Of a GGUF file or a Hugging Face folder. Raises ModelFileError, ChatTemplateError or OSError."""
    if path.is_dir():
        tokenizer, template = Tokenizer.from_folder(path), ChatTemplate.from_folder(path)
    else:
        header = read_header(path)
        tokenizer, template = Tokenizer.from_header(header), ChatTemplate.from_header(header)
    return ModelText(tokenizer, template, InfillForm.of(tokenizer))
