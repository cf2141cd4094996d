"""Limits of requests: from proto to domain, no more than the server's maxima, and what was lowered to them."""

from collections.abc import Iterable, Sequence

from thresher.v1 import problem_pb2, verdict_pb2

from engine.config import ExecutorSettings
from engine.serving import fields
from executor.types import Limits
from executor.verdict import LoweredLimit


def limits_in(message: problem_pb2.ExecutionLimits | None, path: str, base: Limits, maxima: ExecutorSettings) -> Limits:
    """The limits of a message over those of `base`, clamped to the server's maxima as the protocol says."""
    cpu, wall, memory = base.cpu_seconds, base.wall_seconds, base.memory_bytes
    output, processes = base.output_bytes, base.processes
    if message is not None:
        if message.HasField("cpu_time"):
            cpu = fields.seconds(message.cpu_time, f"{path}.cpu_time")
        if message.HasField("wall_time"):
            wall = fields.seconds(message.wall_time, f"{path}.wall_time")
        if message.HasField("memory_bytes"):
            memory = fields.count(message.memory_bytes, f"{path}.memory_bytes")
        if message.HasField("output_bytes"):
            output = fields.count(message.output_bytes, f"{path}.output_bytes")
        if message.HasField("max_processes"):
            processes = fields.count(message.max_processes, f"{path}.max_processes")
    limits = Limits(
        cpu_seconds=min(cpu, maxima.max_cpu_seconds),
        wall_seconds=wall,
        memory_bytes=min(memory, maxima.max_memory_bytes),
        output_bytes=min(output, maxima.max_output_bytes),
        processes=min(processes, maxima.max_processes),
    )
    if limits.effective_wall_seconds <= maxima.max_wall_seconds:
        return limits
    return Limits(
        cpu_seconds=limits.cpu_seconds,
        wall_seconds=maxima.max_wall_seconds,
        memory_bytes=limits.memory_bytes,
        output_bytes=limits.output_bytes,
        processes=limits.processes,
    )


def lowered_in(
    whole: problem_pb2.ExecutionLimits, tests: Sequence[problem_pb2.Test], maxima: ExecutorSettings
) -> tuple[LoweredLimit, ...]:
    """Each limit of a checked request that `limits_in` lowered; of `tests` by their positions.

    What follows from another limit (wall time from CPU time) was not asked for, and does not count.
    """
    found = list(_lowered(whole, None, maxima))
    for index, test in enumerate(tests):
        if test.HasField("limits"):
            found += _lowered(test.limits, index, maxima)
    return tuple(found)


def _lowered(
    asked: problem_pb2.ExecutionLimits, test_index: int | None, maxima: ExecutorSettings
) -> Iterable[LoweredLimit]:
    most = {
        "wall_time": maxima.max_wall_seconds,
        "cpu_time": maxima.max_cpu_seconds,
        "memory_bytes": maxima.max_memory_bytes,
        "output_bytes": maxima.max_output_bytes,
        "max_processes": maxima.max_processes,
    }
    for field, value in asked.ListFields():
        number = value.seconds + value.nanos / 1e9 if field.message_type else float(value)
        if number > most[field.name]:
            yield LoweredLimit(limit=field.name, asked=number, applied=float(most[field.name]), test_index=test_index)


def lowered_out(lowered: Iterable[LoweredLimit], positions: Sequence[int]) -> list[verdict_pb2.LoweredLimit]:
    """The messages. `positions` are those of the tests in the caller's list."""
    return [
        verdict_pb2.LoweredLimit(
            limit=one.limit,
            test_index=None if one.test_index is None else positions[one.test_index],
            asked=one.asked,
            applied=one.applied,
        )
        for one in lowered
    ]
