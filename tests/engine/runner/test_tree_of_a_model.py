"""The sampling tree over a real runner: k samples of one solve are, to the token, k draws of one sample each."""

import numpy as np
import pytest
import torch
from support.random_decoders import config, packed_as, random_decoder

from engine.core.limits import Limits
from engine.core.randomness import uniforms
from engine.core.scheduler import Scheduler
from engine.core.types import Ask, BranchFinished, Chunk, CoreRequest, Filters, Prompt, SamplesFinished, Step
from engine.models.catalogue import fetch
from engine.models.decoder import Decoder
from engine.runner.arithmetic import best_arithmetic, load_decoder
from engine.runner.compiled import CompiledRunner
from engine.text.model_text import read_model_text
from kernels.cpu.launch import has_vnni
from tests.support.scripted_runner import EOS, TokenStopper

needs_bytes = pytest.mark.skipif(not has_vnni(), reason="this processor has no AVX512_VNNI")
NONE = np.empty(0, np.int32)


def request(prompt: list[int], k: int, new: int, temperature: float) -> CoreRequest:
    filters = (Filters(temperature=temperature, top_p=0.95),)
    prompts = (Prompt(prompt, TokenStopper()),)
    return CoreRequest(solve=1, prompts=prompts, k=k, filters=filters, seed=3, max_new_tokens=new)


def one_sample(runner: CompiledRunner, asked: CoreRequest, sample: int) -> list[int]:
    """Drawn alone: its prompt in one piece, then row by row, with its own numbers."""
    tokens = list(asked.prompts[0].tokens)
    drawn: list[int] = []
    computed = 0
    while len(drawn) < asked.max_new_tokens and (not drawn or drawn[-1] != EOS):
        path = np.arange(len(tokens), dtype=np.int32)
        number = np.atleast_1d(uniforms(asked.seed, sample, len(drawn)))
        ask = Ask(len(tokens) - computed - 1, asked.filters[0], number)
        ((found,),) = runner.run(Step([Chunk(1, tokens[computed:], computed, NONE, path, [ask])]))
        computed = len(tokens)
        drawn.append(int(found.ids[found.find(number)[0]]))
        tokens.append(drawn[-1])
    return drawn


def together(runner: CompiledRunner, asked: CoreRequest, **limits: int) -> dict[int, list[int]]:
    """All samples in one solve: their tokens; and what the solve has saved."""
    scheduler = Scheduler(pages=runner.pages, page_size=runner.page_size, limits=Limits(**limits))
    scheduler.submit(asked)
    texts: dict[int, str] = {}
    drawn: dict[int, list[int]] = {}
    while not scheduler.idle:
        scheduler.apply_intents()
        plan, events = scheduler.plan()
        if plan is not None:
            events += scheduler.finish(plan, runner.run(plan.step), 0.02)
        scheduler.check_invariants()
        for event in events:
            if isinstance(event, BranchFinished):
                texts[event.branch] = event.text
            if isinstance(event, BranchFinished | SamplesFinished):
                drawn |= {sample: [int(word) for word in texts[event.branch].split()] for sample in event.samples}
    return drawn


def check(runner: CompiledRunner, asked: CoreRequest, widths: tuple[int, ...]) -> int:
    """Compare; the number of different texts."""
    alone = {sample: one_sample(runner, asked, sample) for sample in range(asked.k)}
    for width in widths:
        assert together(runner, asked, rows=width) == alone
    return len({tuple(tokens) for tokens in alone.values()})


@pytest.mark.parametrize("arithmetic", [pytest.param("int8", marks=needs_bytes), "bfloat16", "float32"])
def test_samples_of_a_solve_are_separate_draws(arithmetic: str) -> None:
    runner = CompiledRunner(packed_as(arithmetic, random_decoder(config())), kv_bytes=1 << 24)
    prompt = torch.randint(1, 500, (45,), generator=torch.Generator().manual_seed(1)).tolist()
    texts = [check(runner, request(prompt, 8, 16, temperature), (1, 3, 8)) for temperature in (0.02, 1.0)]
    assert 1 < texts[0] < 8, "some samples travel together, some part"


@pytest.mark.model
def test_samples_of_a_real_model_are_separate_draws() -> None:
    path = fetch("smollm2-135m-instruct")
    text = read_model_text(path)
    decoder: Decoder = load_decoder(path, arithmetic=best_arithmetic(), tokenizer=text.tokenizer, strict=True)
    runner = CompiledRunner(decoder, kv_bytes=1 << 27)
    prompt = text.tokenizer.encode('def add(a, b):\n    """Return the sum of a and b."""\n', special=False)
    assert check(runner, request(prompt, 24, 24, 0.6), (2, 24)) > 1
