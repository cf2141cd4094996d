"""From what the host saw to a verdict. Pure functions: no jail, no clock."""

import signal
from dataclasses import dataclass

from executor.trial import Ending, Facts
from executor.types import Limits
from executor.verdict import Verdict

_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict and one line about it."""

    verdict: Verdict
    message: str = ""


PASSED = Outcome(Verdict.PASSED)


def limit_outcome(facts: Facts, limits: Limits) -> Outcome | None:
    """The outcome if a limit or the sandbox ended the trial; None if the program's own doing decides."""
    match facts.ending:
        case Ending.MEMORY:
            return Outcome(Verdict.MEMORY_LIMIT, f"more than {limits.memory_bytes >> 20} MiB of memory")
        case Ending.CPU:
            return Outcome(Verdict.TIME_LIMIT, facts.reason or f"more than {limits.cpu_seconds:g} s of CPU time")
        case Ending.WALL:
            return Outcome(Verdict.TIME_LIMIT, f"not done after {limits.effective_wall_seconds:g} s")
        case Ending.OUTPUT:
            return Outcome(Verdict.OUTPUT_LIMIT, facts.reason or f"more than {limits.output_bytes} bytes of output")
        case Ending.BROKEN:
            return Outcome(Verdict.SANDBOX_FAILURE, facts.reason or "the jail was lost")
        case Ending.EXITED | Ending.ANSWERED:
            return None


def exit_code(facts: Facts) -> int | None:
    """The exit code, if the process ended with one."""
    status = facts.status
    return status >> 8 if status is not None and status & 0x7F == 0 else None


def signal_number(facts: Facts) -> int | None:
    """The signal that ended the process, if one did."""
    status = facts.status
    return status & 0x7F if status is not None and status & 0x7F else None


def death_outcome(facts: Facts) -> Outcome | None:
    """The outcome if the process died by a signal."""
    number = signal_number(facts)
    if number is None:
        return None
    if number == signal.SIGSYS:
        return Outcome(Verdict.SANDBOX_VIOLATION, "killed for a system call of a foreign architecture")
    if number == signal.SIGXCPU:
        return Outcome(Verdict.TIME_LIMIT, "the CPU time limit of a single process")
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return Outcome(Verdict.RUNTIME_ERROR, f"killed by {name}")


def script_outcome(facts: Facts) -> Outcome | None:
    """The outcome of a script by its exit status; None if it ended well and its output decides."""
    if (dead := death_outcome(facts)) is not None:
        return dead
    code = exit_code(facts)
    if code == 0:
        return None
    last = last_line(facts.stderr)
    if last.startswith("MemoryError"):
        return Outcome(Verdict.MEMORY_LIMIT, "MemoryError")
    return Outcome(Verdict.RUNTIME_ERROR, f"exit status {code}" + (f": {last}" if last else ""))


def raised_outcome(stage: str, name: str, bases: list[str], text: str) -> Outcome:
    """The outcome of an exception: while the program was loaded (`stage` load) or in a call."""
    message = f"{name}: {text}"[:_SHOWN] if text else name
    if name == "MemoryError" or "MemoryError" in bases:
        return Outcome(Verdict.MEMORY_LIMIT, message)
    where = "" if stage == "call" else "while the program was loaded: "
    return Outcome(Verdict.RUNTIME_ERROR, where + message)


def refused_outcome(name: str, text: str) -> Outcome:
    """The outcome of a program that does not compile."""
    if name == "MemoryError":
        return Outcome(Verdict.MEMORY_LIMIT, f"{name} in the compiler")
    return Outcome(Verdict.COMPILE_ERROR, f"{name}: {text}"[:_SHOWN])


def last_line(stderr: bytes) -> str:
    """The last line with text, shortened."""
    lines = stderr[-4096:].decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:_SHOWN] if lines else ""


def silent_outcome(facts: Facts) -> Outcome:
    """The outcome of a process that ended, or spoke nonsense, before it had answered."""
    if facts.reason:
        return Outcome(Verdict.RUNTIME_ERROR, facts.reason)
    dead = death_outcome(facts)
    if dead is not None:
        return dead
    return Outcome(Verdict.RUNTIME_ERROR, f"the program exited with status {exit_code(facts)} before it answered")
