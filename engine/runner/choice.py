"""Which device and which runner execute a model on this machine, and in which arithmetic."""

from pathlib import Path

import torch

from engine.core.limits import Limits
from engine.models import load
from engine.models.decoder import Decoder
from engine.runner.arithmetic import Arithmetic, best_arithmetic, load_decoder
from engine.runner.compiled import CompiledRunner, is_packed
from engine.runner.cpu import CpuRunner
from engine.runner.cuda import CudaRunner
from engine.runner.device_layer import ToDevice, on_device
from engine.text.tokenizer import Tokenizer

CPU_KV_BYTES = 1 << 30
"""Memory of the pool on a CPU, where none is given."""
_CPU_PAGE_SIZE, _GPU_PAGE_SIZE = 16, 64


def device_for(wanted: str, *, strict: bool = False) -> torch.device:
    """`wanted`: auto, cpu or cuda. auto is the GPU if torch can use one, but a CPU for what must be strict.

    Raises:
        ValueError: another word, a GPU that is not there, or `strict` on a GPU.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise ValueError(f"engine.device: {wanted!r} is not auto, cpu or cuda")
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        built = "with" if torch.version.cuda else "without"
        raise ValueError(f"engine.device: torch {torch.__version__} ({built} CUDA) finds no GPU; choose auto or cpu")
    if wanted == "cuda" and strict:
        raise ValueError("strict: a GPU does not promise it; leave it out, or set engine.device to cpu")
    return torch.device("cuda" if there and wanted != "cpu" and not strict else "cpu")


def device_name(device: torch.device) -> str:
    """What the server says that a model runs on."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu"


def limits_of(device: torch.device, *, rows: int | None = None, step_seconds: float | None = None) -> Limits:
    """Rows of a step and its seconds, as given or as suits the device: a GPU takes many rows for little more than one,
    and its steps are short."""
    gpu = device.type == "cuda"
    return Limits(rows=rows or (256 if gpu else 64), step_seconds=step_seconds or (0.03 if gpu else 0.1))


def arithmetic_for(wanted: str, device: torch.device) -> Arithmetic:
    """`wanted`: auto or an arithmetic. auto is bfloat16 on a GPU, on a CPU what suits the processor.

    Raises:
        ValueError: another word, or int8 on a GPU.
    """
    match wanted:
        case "auto":
            return "bfloat16" if device.type == "cuda" else best_arithmetic()
        case "int8" if device.type == "cuda":
            raise ValueError("models.arithmetic: int8 runs on a CPU alone; choose bfloat16 or auto for a GPU")
        case "int8" | "bfloat16" | "float32":
            return wanted
        case _:
            raise ValueError(f"models.arithmetic: {wanted!r} is not int8, bfloat16, float32 or auto")


def narrow_for(suffix_kv_bits: int, device: torch.device) -> bool:
    """Whether keys and values of drawn tokens are stored in 8 bits; `suffix_kv_bits`: 16 or 8.

    Raises:
        ValueError: 8 on a CPU.
    """
    if suffix_kv_bits == 8 and device.type != "cuda":
        raise ValueError("engine.suffix_kv_bits: 8 is for a GPU alone; leave it out, or set engine.device to cuda")
    return suffix_kv_bits == 8


def load_for(
    device: torch.device,
    path: Path,
    *,
    arithmetic: Arithmetic,
    tokenizer: Tokenizer,
    packed: Path | None = None,
    strict: bool = False,
) -> Decoder:
    """A decoder with its weights where they are computed with; see engine.runner.arithmetic and engine.models.load."""
    if device.type == "cpu" or arithmetic == "int8":
        return load_decoder(path, arithmetic=arithmetic, tokenizer=tokenizer, packed=packed, strict=strict or None)
    return on_device(load.load_decoder(path, arithmetic=arithmetic, linear=ToDevice(device)), device)


def kernels_of(runner: CpuRunner | CompiledRunner | CudaRunner) -> str:
    """Where a runner's kernels have come from, in words."""
    if isinstance(runner, CudaRunner):
        return "compiled by Triton or taken from its cache"
    return f"{runner.compiled} compiled for this processor" if runner.compiled else "taken from the cache"


def runner_for(
    decoder: Decoder,
    *,
    kv_bytes: int | None = None,
    page_size: int | None = None,
    strict: bool = False,
    rows: int = 64,
    suffix_kv_bits: int = 16,
) -> CpuRunner | CompiledRunner | CudaRunner:
    """The fastest one that can, on the device that has the weights.

    `kv_bytes`: memory of the pool; None for CPU_KV_BYTES, or on a GPU what is free. `page_size`: None for the one that
    suits. `rows`: of a step, for which a GPU makes itself ready. `suffix_kv_bits`: 16, or 8 on a GPU, of each key and
    value of a drawn token.

    Raises:
        ValueError: `kv_bytes` does not hold a page, the GPU's kernels cannot run this decoder, `strict` is asked for
            and only torch can, or `suffix_kv_bits` is 8 on a CPU.
    """
    if decoder.weights.embedding.device.type == "cuda":
        try:
            return CudaRunner(
                decoder,
                kv_bytes=kv_bytes,
                page_size=page_size or _GPU_PAGE_SIZE,
                rows=rows,
                narrow_suffix=narrow_for(suffix_kv_bits, decoder.weights.embedding.device),
            )
        except ValueError as error:
            raise ValueError(f"{error}; engine.device = cpu runs it without a GPU") from error
    narrow_for(suffix_kv_bits, decoder.weights.embedding.device)
    if strict and not is_packed(decoder):
        dim = decoder.config.head_dim
        raise ValueError(f"strict: heads of {dim} dimensions cannot be run so, only those of 64 or 128")
    kind = CompiledRunner if is_packed(decoder) else CpuRunner
    return kind(decoder, kv_bytes=kv_bytes or CPU_KV_BYTES, page_size=page_size or _CPU_PAGE_SIZE)
