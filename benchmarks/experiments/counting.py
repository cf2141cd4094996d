"""What may be counted: pass@k is an estimate only over independent, complete draws, equally many for each problem."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.experiments.errors import NotCountable
from benchmarks.experiments.experiment import Draw
from benchmarks.experiments.outcome import Outcome


def passes(protocol: Mapping[str, Any], arm: str, outcomes: Sequence[Outcome]) -> tuple[int, npt.NDArray[np.int64]]:
    """The samples n of each problem and how many passed, for pass@k of one arm.

    Raises NotCountable where the samples are not independent and complete, or where a problem of the arm is missing.
    """
    draw = require_complete(protocol, arm, outcomes)
    if not draw.independent:
        raise NotCountable(
            f"arm {arm!r}: pass@k is estimated from independent draws, and these are {dict(draw.sampling)}; "
            "this arm has measures of its own"
        )
    return draw.samples, np.array([outcome.passed for outcome in outcomes], dtype=np.int64)


def require_complete(protocol: Mapping[str, Any], arm: str, outcomes: Sequence[Outcome]) -> Draw:
    """The draw of an arm whose problems are all there with all their samples. Raises NotCountable if any is not."""
    said = arm_of(protocol, arm)
    if len(outcomes) != said["problems"]:
        raise NotCountable(f"arm {arm!r}: {len(outcomes)} of {said['problems']} problems are there")
    for outcome in outcomes:
        if outcome.finished != said["samples"]:
            raise NotCountable(
                f"arm {arm!r}, problem {outcome.id}: {outcome.finished} of {said['samples']} samples are complete texts"
            )
    rows = said.get("budget_rows", 0)
    return Draw(samples=said["samples"], seed=said["seed"], rows=rows, sampling=said["sampling"])


def arm_of(protocol: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a protocol says of one arm. Raises NotCountable where it has none of that name."""
    for arm in protocol["arms"]:
        if arm["name"] == name:
            return arm
    raise NotCountable(f"arm {name!r} is not in the protocol: it has {[arm['name'] for arm in protocol['arms']]}")
