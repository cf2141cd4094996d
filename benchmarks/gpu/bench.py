"""Times of every kernel and of whole decode steps: `python -m benchmarks.gpu.bench --results DIR`.

Each row says what was asked, the median time, the bytes and operations that the work needs at least, the time that the
device's measured ceilings give these (`floor_us`), and which part of the time that is (`reached`).
"""

import sys
from functools import partial
from typing import Any

from benchmarks.gpu.session import session


def main() -> int:
    """Run all sections, the most important first; the exit status."""
    here = session("gpu-bench", __doc__ or "")
    # Triton is imported here, after the session has said how.
    from benchmarks.gpu import (
        attention_times,
        dram,
        engine_times,
        host_times,
        prefill_times,
        row_times,
        sampling_times,
        step_times,
    )
    from benchmarks.gpu.timing import ceilings

    found = ceilings(here)
    sections: list[Any] = [
        attention_times,
        step_times,
        engine_times,
        host_times,
        dram,
        prefill_times,
        sampling_times,
        row_times,
    ]
    for section in sections:
        here.part(section.__name__.rpartition(".")[2], partial(section.run, here, found))
    return here.finish()


if __name__ == "__main__":
    sys.exit(main())
