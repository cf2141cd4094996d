"""MBPP-edited beside the original: the same problems with the texts as published and as their authors edited them."""

from benchmarks.experiments.comparison import comparison
from benchmarks.experiments.published import Published

UNEDITED = "unedited"
EDITED = "edited"

_PAPER = "Austin, Odena et al. 2021 (arXiv 2108.07732), few-shot, solved by any of 80; 100 problems they chose"

NEIGHBOURS = (
    Published(who="137B of the MBPP paper", measure="unedited", value=63, how=_PAPER),
    Published(who="137B of the MBPP paper", measure="edited", value=79, how=_PAPER),
)

EXPERIMENT = comparison(
    "edited",
    "MBPP-edited beside the original",
    "The same ids with the same prompt: texts and tests as published, and as the authors edited them.",
    NEIGHBOURS,
)
