"""What is installed here beside torch, triton, numpy and what these ask for: the rest can be taken away in a test."""

import re
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

OURS = {"thresher"}


def needed(*names: str) -> set[str]:
    """These distributions and all that they require on this machine, extras left out."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in found:
            continue
        found.add(name)
        try:
            wanted = requires(name) or []
        except PackageNotFoundError:
            continue  # for another system or Python
        left += [re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in wanted if "extra ==" not in one]
    return found


def refused() -> list[str]:
    """Top-level names of every other package that is installed here."""
    allowed = needed("torch", "triton", "numpy") | OURS
    return sorted(
        name
        for name, owners in packages_distributions().items()
        if not allowed & {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners}
    )
