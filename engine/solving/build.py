"""The real solver from settings: an engine process for each model, over an executor."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from engine.config import Settings
from engine.config_base import ConfigError
from engine.loop.client import Link, ProcessLink
from engine.loop.messages import EngineConfig
from engine.metrics import Metrics
from engine.models.catalogue import check_ahead
from engine.models.errors import ModelError
from engine.solving.backing import OwnedExecutor
from engine.solving.model_files import obtained
from engine.solving.solver import Solver


def build_solver(settings: Settings, metrics: Metrics, executor: OwnedExecutor) -> Solver:
    """A solver that is not started yet; it starts and closes `executor`. ConfigError for a model that cannot be served,
    as far as that can be told before it is loaded."""
    names = [settings.default_model, *(name for name in settings.models.serve if name != settings.default_model)]
    for name in names:
        try:
            check_ahead(name)
        except (ModelError, ValueError, OSError) as error:
            raise ConfigError(f"models.serve: {error}") from error
    for share in settings.engine.shares:
        if share.model not in names:
            raise ConfigError(
                f"engine.shares: {share.model!r} is not served here ({', '.join(names)}); name it as models.serve does"
            )
    return Solver(
        starters={model_name(name): _starter(name, settings) for name in names},
        executor=executor,
        metrics=metrics,
        max_k=settings.limits.max_k,
        weights={model_name(name): settings.engine.share(name).weight for name in names},
    )


def model_name(name: str) -> str:
    """What a model is called over gRPC: its catalogue name, the stem of its file or the name of its folder."""
    return Path(name).resolve().name.removesuffix(".gguf")


def _starter(name: str, settings: Settings) -> Callable[[], Awaitable[Link]]:
    engine, kv_bytes = settings.engine, settings.engine.share(name).kv_bytes

    async def start() -> Link:
        # The first start fetches the file; later ones find it in the cache.
        path = await asyncio.to_thread(obtained, name, model_name(name))
        return await ProcessLink.start(
            EngineConfig(
                name=model_name(name),
                path=str(path),
                device=engine.device.value,
                arithmetic=settings.models.arithmetic.value,
                strict=settings.models.strict,
                threads=engine.threads,
                kv_bytes=None if kv_bytes is None else int(kv_bytes),
                page_tokens=engine.page_tokens,
                rows=engine.max_rows,
                step_seconds=None if engine.step_ms is None else engine.step_ms / 1000,
                waiting=settings.limits.max_waiting,
                drafting=engine.drafting,
                shared=len(settings.models.serve) > 1,
                suffix_kv_bits=engine.suffix_kv_bits.value,
            )
        )

    return start
