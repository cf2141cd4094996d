"""The lanes of a race for one model: ours, and each peer at the settings that were found to be its best."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.lane import Drawn, Lane, Work
from benchmarks.peers.llama import BatchedBench, LlamaServer
from benchmarks.peers.scripted import Engine, ScriptedLane
from benchmarks.peers.setup import LLAMA, TRANSFORMERS, VLLM, Home, cores

OURS = "thresher"
SAME = "same"
TEMPERATURE, TOP_P = 0.8, 0.95

# Of the quantisations that llama.cpp computes fast, the first is best for few rows and the second for many.
LLAMA_KINDS = ("Q4_0", "BF16")
VLLM_FORMS = ("bf16", "w8a8")
TRANSFORMERS_TYPES = ("bfloat16", "float32")
_SCRIPT = Path(__file__).with_name("vllm_script.py")
_TRANSFORMERS_SCRIPT = Path(__file__).with_name("transformers_script.py")


def our_lanes(home: Home, model: str, arithmetics: list[str]) -> list[tuple[ScriptedLane, Engine]]:
    """A lane for each arithmetic (`auto`: what the server would choose), with its process, which knows the prompt."""
    lanes: list[tuple[ScriptedLane, Engine]] = []
    for arithmetic in arithmetics:
        name = OURS if arithmetic == "auto" else f"{OURS} {arithmetic}"
        command = [sys.executable, "-m", "benchmarks.peers.our_script", model, arithmetic]
        engine = Engine(command, os.environ, home.log(name))
        settings = {"arithmetic": arithmetic, "lazy fork": "no savings: the samples part at their first token"}
        lane = ScriptedLane(name=name, peer=OURS, sampler=SAME, settings=settings, engine=engine, extra={})
        lanes.append((lane, engine))
    return lanes


def peer_lanes(home: Home, peer: str, model: Path, widest: int) -> list[Lane]:
    """The lanes of a peer that is set up; `widest` is the largest k. Raises SetupFailed if a model cannot be made."""
    makers: dict[str, Callable[[Home, Path, int], list[Lane]]] = {
        LLAMA: _llama,
        VLLM: _vllm,
        TRANSFORMERS: _transformers,
    }
    return makers[peer](home, model, widest)


def _llama(home: Home, model: Path, widest: int) -> list[Lane]:
    lanes: list[Lane] = []
    threads = cores()
    for kind in LLAMA_KINDS:
        file = home.gguf(model, kind)
        name = f"llama-batched-bench {kind}"
        bench = home.program("llama-batched-bench")
        lanes.append(BatchedBench(name=name, program=bench, model=file, threads=threads, log=home.log(name)))
    for kind in LLAMA_KINDS:
        name = f"llama-server {kind}"
        lanes.append(
            LlamaServer(
                name=name,
                sampler=SAME,
                program=home.program("llama-server"),
                model=home.gguf(model, kind),
                slots=widest,
                threads=threads,
                parameters={"samplers": ["temperature", "top_p"], "temperature": TEMPERATURE, "top_p": TOP_P},
                log=home.log(name),
            )
        )
    return lanes


def _vllm(home: Home, model: Path, widest: int) -> list[Lane]:
    lanes: list[Lane] = []
    for form in VLLM_FORMS:
        engine, settings = vllm_engine(home, model, form, VllmScript(_SCRIPT, widest), log=home.log(f"vllm {form}"))
        for sampler, top_p in ((SAME, TOP_P), ("without top-p", 1.0)):
            name = f"vllm {form}" + ("" if sampler == SAME else f" {sampler}")
            extra = {"temperature": TEMPERATURE, "top_p": top_p}
            lanes.append(
                ScriptedLane(name=name, peer=VLLM, sampler=sampler, settings=settings, engine=engine, extra=extra)
            )
    return lanes


class TransformersLane(ScriptedLane):
    """Its script tries, for each number of samples, how they are drawn fastest; what it found is among the settings."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._tried: dict[str, Any] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """See Lane."""
        return super().settings | {"best by k": self._tried}

    def draw(self, work: Work) -> Drawn:
        """See Lane."""
        drawn = super().draw(work)
        self._tried[str(work.k)] = self.answer["setting"]
        return drawn


def _transformers(home: Home, model: Path, widest: int) -> list[Lane]:
    lanes: list[Lane] = []
    for kind in TRANSFORMERS_TYPES:
        engine, settings = transformers_engine(
            home, model, kind, _TRANSFORMERS_SCRIPT, {}, home.log(f"transformers {kind}")
        )
        for sampler, top_p in ((SAME, TOP_P), ("without top-p", 1.0)):
            name = f"transformers {kind}" + ("" if sampler == SAME else f" {sampler}")
            extra = {"temperature": TEMPERATURE, "top_p": top_p}
            lanes.append(
                TransformersLane(
                    name=name, peer=TRANSFORMERS, sampler=sampler, settings=settings, engine=engine, extra=extra
                )
            )
    return lanes


def transformers_engine(
    home: Home, model: Path, kind: str, script: Path, more: dict[str, Any], log: Path
) -> tuple[Engine, dict[str, Any]]:
    """The process that runs the script with these settings and more, and all of them for the record.

    Raises SetupFailed.
    """
    settings = {"dtype": kind, "threads": cores(), **more}
    command = [str(home.transformers_python), "-I", str(script), str(home.hugging_face(model, "bf16"))]
    environment = {"OMP_NUM_THREADS": str(cores()), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    said = {key: value for key, value in settings.items() if key not in more}
    return Engine([*command, json.dumps(settings)], os.environ | environment, log), {"weights": "bf16", **said}


@dataclass(frozen=True, slots=True)
class VllmScript:
    """A script around vllm.LLM: how many samples it is to have at once, of at most so many tokens, prompt included.

    `tokenizer` is a Hugging Face folder, for scripts that deal in texts.
    """

    path: Path
    widest: int
    longest: int = 512
    tokenizer: Path | None = None


def vllm_engine(home: Home, model: Path, form: str, script: VllmScript, *, log: Path) -> tuple[Engine, dict[str, Any]]:
    """The process that runs the script, and its settings for the record. Raises SetupFailed."""
    ids = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))
    preloads = home.preloads()
    # In one process: on two cores its scheduler's process, which spins, would take one of them, and its own choice of
    # cores leaves the arithmetic the other.
    environment = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "OMP_NUM_THREADS": str(cores()),
        "VLLM_CPU_OMP_THREADS_BIND": ids,
        "LD_PRELOAD": os.pathsep.join(str(path) for path in preloads),
    }
    quiet = {
        "VLLM_CACHE_ROOT": str(home.folder / VLLM / "cache"),
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    arguments: dict[str, Any] = {
        "dtype": "bfloat16",
        "max_model_len": script.longest,
        "max_num_seqs": script.widest,
        "kv_cache_memory_bytes": 1 << 30,
        "enable_prefix_caching": True,
        # Its default of 128 lets samples share the first 128 tokens of the prompt only.
        "block_size": 32,
        "skip_tokenizer_init": script.tokenizer is None,
        "disable_log_stats": True,
    }
    more = {} if script.tokenizer is None else {"tokenizer": str(script.tokenizer)}
    folder = home.hugging_face(model, form)
    command = [str(home.vllm_python), "-I", str(script.path), str(folder), json.dumps(arguments | more)]
    settings = {
        "weights": form,
        "arguments": arguments,
        "environment": environment | {"LD_PRELOAD": " ".join(path.name for path in preloads)},
    }
    return Engine(command, os.environ | environment | quiet, log), settings
