"""A scripted engine that answers any prompt with short texts, so that whatever a request asks for happens."""

import zlib

import numpy as np

from engine.core.distribution import Distribution, from_probabilities
from engine.core.types import Mask
from tests.support.scripted_engine import EOS, Script

_LETTERS = np.frombuffer(b"x=1\n PASFIL'#", np.uint8).astype(np.int32)


class Babbler(Script):
    """The next byte depends on the last few, so that samples share beginnings; about one in six ends the text."""

    def __init__(self, *, pages: int = 4000, step_seconds: float = 0.0) -> None:
        super().__init__({}, pages=pages, step_seconds=step_seconds)

    def _distribution(self, path: bytes, mask: Mask | None) -> Distribution:
        luck = np.random.default_rng(zlib.crc32(path[-6:]))
        ids = np.unique(np.append(luck.choice(_LETTERS, 4), EOS)).astype(np.int32)
        weights = luck.random(len(ids)) + 0.1
        if mask is not None:
            kept = np.array([mask[token // 32] >> (token % 32) & 1 for token in ids.tolist()], bool)
            if kept.any():
                ids, weights = ids[kept], weights[kept]
            else:
                ids = np.array([np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))[0]], np.int32)
                weights = np.ones(1)
        probabilities = weights / weights.sum()
        return from_probabilities(
            ids, probabilities, np.log(probabilities).astype(np.float32), int(probabilities.argmax())
        )
