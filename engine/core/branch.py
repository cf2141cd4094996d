"""A branch of the sampling tree: all samples that have drawn the same tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from engine.core.types import Slots, Stopper

if TYPE_CHECKING:
    from engine.core.segments import Segment
    from engine.core.tree import Tree


@dataclass(slots=True, eq=False)
class Branch:
    """Samples that have drawn the same tokens so far. `generated` counts the tokens after the prompt."""

    id: int
    tree: Tree
    tip: Segment
    samples: list[int]
    stopper: Stopper
    drew: float  # when it drew its last token, on the scheduler's clock
    generated: int = 0
    logprob: float = 0.0
    finished: bool = False
    pruned: bool = False
    reported: int = 0  # characters of the text already sent
    suffix: Slots = field(default_factory=lambda: np.empty(0, np.int32))
    filled: int = 0
    layout: int = -1  # layout of the tree that `suffix` was made for
    whole: bool = False  # `suffix` holds the prompt's slots too
