"""Is every kernel right on this device? `python -m benchmarks.gpu.check --results DIR`.

This needs nothing but torch, triton and numpy, runs what the device alone can show (bfloat16, compiled code, graphs,
addresses beyond 32 bits), and ends with status 1 if anything is wrong. Where pytest and hypothesis are installed, the
kernels' own tests run too, on the device; where compute-sanitizer is, it watches the smallest cases.
"""

import sys

from benchmarks.gpu.session import session


def main() -> int:
    """All checks; the exit status."""
    here = session("gpu-check", __doc__ or "")
    # Triton is imported here, after the session has said how.
    from benchmarks.gpu import attention_checks, prefill_times, row_checks, runner_checks, sampling_checks, watched

    here.part("rows", lambda: row_checks.run(here))
    here.part("sampling", lambda: sampling_checks.run(here))
    here.part("attention", lambda: attention_checks.run(here))
    here.part("runner", lambda: runner_checks.run(here))
    here.part("prefill", lambda: prefill_times.check(here))
    if not here.dry:
        here.part("watched", lambda: watched.run(here))
    return here.finish()


if __name__ == "__main__":
    sys.exit(main())
