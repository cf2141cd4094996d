"""Is every kernel right on this device? `python -m benchmarks.gpu.check --results DIR`.

The kernels' tests (tests/kernels/gpu) need pytest and hypothesis and run under the interpreter; this needs neither,
runs what the device alone can show (bfloat16, compiled code, graphs, addresses beyond 32 bits), and ends with status 1
if anything is wrong.
"""

import sys

from benchmarks.gpu.session import session


def main() -> int:
    """All checks; the exit status."""
    here = session("gpu-check", __doc__ or "")
    # Triton is imported here, after the session has said how.
    from benchmarks.gpu import attention_checks, prefill_times, row_checks, sampling_checks

    for section in (row_checks, sampling_checks, attention_checks):
        section.run(here)
    prefill_times.check(here)
    return here.finish()


if __name__ == "__main__":
    sys.exit(main())
