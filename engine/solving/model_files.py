"""A model's files on their way into the cache, as the log tells of them: a first start fetches for minutes."""

import time
from pathlib import Path

import structlog

from engine.models.catalogue import cache_folder, fetch, resolve
from engine.models.entry import ModelEntry
from engine.models.store import State, state_of

_BETWEEN_SECONDS = 10.0
_log = structlog.stdlib.get_logger("models")


def obtained(name: str, model: str) -> Path:
    """As `fetch`, which it calls; `model` is what the log calls it. Blocks; raises what `fetch` raises."""
    found = resolve(name)
    if isinstance(found, ModelEntry):
        state = state_of(found, cache_folder())
        if state is State.ABSENT:
            _log.info("model_fetching", model=model, megabytes=_megabytes(found.size), into=str(cache_folder()))
        elif state is not State.READY:
            _log.info("model_checking", model=model, megabytes=_megabytes(found.size))
    path = fetch(name, _Arriving(model))
    _log.info("model_found", model=model, file=str(path))
    return path


class _Arriving:
    """Tells every few seconds how much is here."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._told >= _BETWEEN_SECONDS:
            self._told = time.monotonic()
            _log.info("model_arriving", model=self._model, megabytes=_megabytes(done), of=_megabytes(total))


def _megabytes(size: int) -> float:
    return round(size / 1e6, 1)
