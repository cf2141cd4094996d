"""An engine process: `python -m engine.loop.process FD CONFIG`, spoken to over the inherited socket FD."""

import ctypes
import os
import signal
import socket
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

import msgspec

from engine.loop.messages import EngineConfig, Failed, Loaded, Loading, Ready, frame


def serve(connection: socket.socket, config: EngineConfig) -> None:
    """Load the model, say so, and work until the other end closes the connection.

    A model that cannot be served is told as Failed; any other exception leaves the function.
    """
    began = time.monotonic()
    connection.sendall(frame(Loading(config.name, "torch")))
    # Heavy imports belong to this process alone, and their failures to the message below.
    import torch

    from engine.core.scheduler import Scheduler
    from engine.loop.engine import Engine
    from engine.models.catalogue import cache_folder
    from engine.models.errors import ModelError
    from engine.models.store import packed_path
    from engine.runner.choice import (
        CPU_KV_BYTES,
        arithmetic_for,
        device_for,
        device_name,
        kernels_of,
        limits_of,
        load_for,
        narrow_for,
        runner_for,
    )
    from engine.text.model_text import read_model_text

    torch.set_num_threads(config.threads or len(os.sched_getaffinity(0)))
    path = Path(config.path)
    try:
        device = device_for(config.device, strict=config.strict)
        limits = limits_of(device, rows=config.rows, step_seconds=config.step_seconds)
        arithmetic = arithmetic_for(config.arithmetic, device)
        narrow_for(config.suffix_kv_bits, device)
        if config.shared and config.kv_bytes is None and device.type == "cuda":
            raise ValueError(
                "engine.kv_bytes: several models share this GPU; say how many bytes each gets for its pages"
            )
        connection.sendall(frame(Loading(config.name, "weights, and the tokenizer")))
        part_began = time.monotonic()
        text = read_model_text(path)
        decoder = load_for(
            device,
            path,
            arithmetic=arithmetic,
            tokenizer=text.tokenizer,
            packed=packed_path(path, cache_folder()),
            strict=config.strict,
        )
        connection.sendall(frame(Loaded(config.name, "weights", time.monotonic() - part_began)))
        connection.sendall(frame(Loading(config.name, "kernels, compiled where no earlier start has")))
        part_began = time.monotonic()
        runner = runner_for(
            decoder,
            kv_bytes=config.kv_bytes,
            page_size=config.page_tokens,
            strict=config.strict,
            rows=limits.rows,
            suffix_kv_bits=config.suffix_kv_bits,
        )
        seconds = time.monotonic() - part_began
        connection.sendall(frame(Loaded(config.name, "kernels", seconds, kernels_of(runner))))
    except (ModelError, ValueError, OSError, torch.OutOfMemoryError) as error:
        connection.sendall(frame(Failed(f"model {config.name}: {error}")))
        return
    # Dequantising left large free blocks behind, which the C library would keep.
    ctypes.CDLL(None).malloc_trim(0)
    scheduler = Scheduler(
        pages=runner.pages,
        page_size=runner.page_size,
        limits=replace(limits, waiting=config.waiting, drafting=config.drafting),
    )
    connection.sendall(
        frame(
            Ready(
                name=config.name,
                context_length=decoder.config.context_length,
                chat=text.template is not None,
                infill=text.infill is not None,
                dtype=arithmetic,
                device=device_name(device),
                deterministic=runner.deterministic,
                pages=runner.pages,
                page_size=runner.page_size,
                load_seconds=time.monotonic() - began,
                versions={"torch": str(torch.__version__)},
                resident_bytes=_resident(),
                pool_bytes=0 if device.type == "cuda" else config.kv_bytes or CPU_KV_BYTES,
            )
        )
    )
    Engine(
        scheduler=scheduler,
        runner=runner,
        text=text,
        context_length=decoder.config.context_length,
        shared=config.shared,
    ).serve(connection)


def _resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    """Entry of the process; leaves with 1 if a step failed, so that the front starts it anew.

    It leaves at once then: after a fault of the GPU, whatever would free something on it fails or waits for ever.
    """
    # A terminal's Ctrl-C reaches the whole group: the front decides when the engine ends, by closing the connection.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=int(sys.argv[1]))
    try:
        serve(connection, msgspec.json.decode(sys.argv[2], type=EngineConfig))
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
