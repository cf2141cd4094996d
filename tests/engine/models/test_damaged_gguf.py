"""A GGUF file with wrong bytes anywhere is served, or refused in words; it never ends the engine with a traceback."""

import random
from pathlib import Path

import pytest
from support.tiny_gguf import write_gguf

from engine.models.errors import ModelError
from engine.models.load import load_decoder
from engine.text.model_text import read_model_text

# What an engine's process tells as Failed (engine/loop/process.py); anything else would be a traceback.
IN_WORDS = (ModelError, ValueError, OSError)


@pytest.mark.parametrize("seed", range(90))
def test_wrong_bytes(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "tiny.gguf"
    write_gguf(path)
    data = bytearray(path.read_bytes())
    luck = random.Random(seed)
    # Most of the file are weights, in which any byte is right: half of the damage is to the header.
    reach = luck.choice((32, 4096, len(data)))
    match seed % 3:
        case 0:
            for _ in range(luck.randint(1, 4)):
                data[luck.randrange(reach)] = luck.choice((0, 1, 0x7F, 0xFF, luck.randrange(256)))
        case 1:
            place = luck.randrange(reach)
            data[place : place + 8] = luck.randbytes(8)
        case _:
            del data[luck.randrange(reach) :]
    path.write_bytes(data)
    assert outcome(path) != ""


def outcome(path: Path) -> str:
    """`served`, or the words of the refusal; whatever else is raised fails the test."""
    try:
        read_model_text(path)
        load_decoder(path, arithmetic="float32")
    except IN_WORDS as error:
        return str(error)
    return "served"
