"""What a server says of itself: the models that it serves, and how busy it is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TierInfo:
    """A tier of a cascade: its name, its model's (empty: the default one there), and where it is (empty: here)."""

    name: str
    model: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A served model. `deterministic`: what a sample draws does not depend on what else is drawn, bit for bit.

    A cascade is one more, with its `tiers`; it can do what any of them can.
    """

    name: str
    context_length: int
    chat: bool
    infill: bool
    dtype: str
    device: str
    deterministic: bool
    tiers: tuple[TierInfo, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How busy the server is; kv_cache_usage is 0..1, rows_per_second the mean of the last 10 s."""

    solves_running: int
    solves_waiting: int
    branches_running: int
    kv_cache_usage: float
    executor_slots: int
    executor_queue: int
    rows_per_second: float
    draining: bool
