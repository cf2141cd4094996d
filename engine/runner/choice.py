"""Which runner executes a decoder on this machine."""

from engine.models.decoder import Decoder
from engine.runner.cpu import CpuRunner
from engine.runner.int8 import Int8Runner, runs_in_bytes


def runner_for(decoder: Decoder, *, kv_bytes: int, page_size: int) -> CpuRunner | Int8Runner:
    """The fastest one that can; ValueError if `kv_bytes` does not hold a page."""
    kind = Int8Runner if runs_in_bytes(decoder) else CpuRunner
    return kind(decoder, kv_bytes=kv_bytes, page_size=page_size)
