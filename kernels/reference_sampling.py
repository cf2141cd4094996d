"""Plain reference, in float64 and by sorting, of what a row's filters leave and of what numbers draw from it."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def distribution(
    logits: npt.NDArray[np.floating],
    temperature: float,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    allowed: npt.NDArray[np.bool_] | None = None,
) -> tuple[Floats, Floats]:
    """Probabilities [vocab] after the filters, and natural logarithms of those at temperature 1 before them.

    The mask (`allowed`, [vocab]) comes first, then temperature, top-k, top-p, min-p, each on what the one before has
    left, equal probabilities by id. A mask is a part of both. Temperature 0 is the most probable token, the lowest id
    among equals.
    """
    x = np.array(logits, np.float64)
    if allowed is not None:
        x[~allowed] = -np.inf
    shifted = np.where(x == x.max(), 0.0, x - x.max())
    logprobs = shifted - np.log(np.exp(shifted).sum())
    p = np.zeros(len(x))
    if temperature == 0:
        p[x.argmax()] = 1.0
        return p, logprobs
    scaled = np.exp(shifted / temperature)
    scaled /= scaled.sum()
    # Logits are sorted, not probabilities: those too small for a float64 keep their order.
    order = np.argsort(-x, kind="stable")
    if allowed is not None:
        order = order[allowed[order]]
    if top_k:
        order = order[:top_k]
    if top_p < 1:
        cumulated = np.cumsum(scaled[order])
        order = order[: int(np.searchsorted(cumulated, top_p * cumulated[-1])) + 1]
    if min_p > 0:
        order = order[scaled[order] >= min_p * scaled[order[0]]]
    p[order] = scaled[order]
    return p / p.sum(), logprobs


def draws(probabilities: Floats, numbers: Floats) -> npt.NDArray[np.int64]:
    """The token of each number in [0, 1): inverse transform over ids in ascending order."""
    edges = np.cumsum(probabilities)
    edges[np.flatnonzero(probabilities)[-1] :] = 1.0
    return np.searchsorted(edges, numbers, side="right")
