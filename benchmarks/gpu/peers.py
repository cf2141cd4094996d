"""Decode attention, and a decode step, against everybody else's: `python -m benchmarks.gpu.peers --results DIR`.

Each peer computes attention of one layer for the same queries, keys and values, in the layout that it likes best; what
it gives is compared with ours before it is timed. Peers that are not installed, or fail, are named with the reason.
"""

import sys

from benchmarks.gpu.session import session


def main() -> int:
    """The race; the exit status. A peer that fails is a result; ours failing is a failure."""
    here = session("gpu-peers", __doc__ or "")
    # Triton is imported here, after the session has said how.
    from benchmarks.gpu import peer_times, transformers_steps
    from benchmarks.gpu.timing import ceilings

    found = ceilings(here)
    here.part("race", lambda: peer_times.run(here, found))
    here.part("step race", lambda: transformers_steps.run(here, found))
    return here.finish()


if __name__ == "__main__":
    sys.exit(main())
