"""A whole decode step of the kernels and torch's products, in one graph: against its floor, and against one row's."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.errors import require
from benchmarks.gpu.problems import HALF, SEVEN, TINY, Mix, Model, Problem, decode_attention, problem
from benchmarks.gpu.sampling_times import asks_of
from benchmarks.gpu.session import Session
from benchmarks.gpu.timing import Ceilings, measure
from kernels.gpu.norm import add_norm
from kernels.gpu.place import place
from kernels.gpu.sampling import Sampler
from kernels.gpu.swiglu import swiglu

_OWN = 128
"""Tokens that each sample has of its own already."""


@dataclass(frozen=True, slots=True)
class _Layer:
    norm: Tensor
    qkv: Tensor
    bias: Tensor
    out: Tensor
    mlp_norm: Tensor
    gate_up: Tensor
    down: Tensor


@dataclass(frozen=True, slots=True)
class Weights:
    """Random weights of a model; matrices [out, in]."""

    embedding: Tensor
    layers: list[_Layer]
    norm: Tensor


def weights(session: Session, model: Model, dtype: torch.dtype | None = None) -> Weights:
    """Random numbers of a size that keeps a step's numbers finite; `dtype`: the session's if not given."""

    def matrix(rows: int, columns: int) -> Tensor:
        numbers = torch.empty(rows, columns, dtype=dtype or session.dtype, device=session.device)
        return numbers.normal_(0, columns**-0.5)

    ones = torch.ones(model.hidden, device=session.device)
    layers = [
        _Layer(
            norm=ones,
            qkv=matrix(model.qkv, model.hidden),
            bias=matrix(1, model.qkv)[0],
            out=matrix(model.hidden, model.heads * model.head_dim),
            mlp_norm=ones,
            gate_up=matrix(2 * model.intermediate, model.hidden),
            down=matrix(model.hidden, model.intermediate),
        )
        for _ in range(model.layers)
    ]
    # Logits as far apart as a trained model's: of flat ones a nucleus is most of the vocabulary.
    return Weights(matrix(model.vocab, model.hidden).mul_(4), layers, ones)


class DecodeStep:
    """One step of `mix`: each row's last token is computed and its next one drawn."""

    def __init__(self, session: Session, model: Model, given: Weights, mix: Mix) -> None:
        self._model, self._weights = model, given
        self._laid_out: Problem = problem(session, model, mix, model.layers)
        self._attention = decode_attention(session, self._laid_out)
        rows, device = mix.rows, session.device

        def buffer(width: int) -> Tensor:
            return torch.empty(rows, width, dtype=session.dtype, device=device)

        self._normed, self._projected = buffer(model.hidden), buffer(model.hidden)
        self._qkv, self._gate_up, self._activated = (
            buffer(model.qkv),
            buffer(2 * model.intermediate),
            buffer(model.intermediate),
        )
        self._q, self._attended = (buffer(model.heads * model.head_dim) for _ in range(2))
        self._logits = buffer(model.vocab)
        self._tokens = torch.randint(0, model.vocab, (rows,), device=device)
        position = mix.prompt + mix.own - 1
        self._positions = torch.full((rows,), position, device=device)
        # The last slot that each row sees is its own token's.
        tails = [tail[-1] for tail in self._laid_out.tails]
        self._slots = torch.tensor([int(page) * 64 + int(end) - 1 for page, _, end in tails], device=device)
        angles = torch.rand(position + 1, model.head_dim // 2, device=device)
        self._cos = torch.cat((angles.cos(), angles.cos()), dim=1)
        self._sin = torch.cat((-angles.sin(), angles.sin()), dim=1)
        self.sampler = Sampler(model.vocab, rows, rows, device)
        self.sampler.load(asks_of(rows, 1, (0.8, 0, 0.95, 0.0)))

    def run(self) -> None:
        """The step, without a word to the host."""
        model, given, laid_out = self._model, self._weights, self._laid_out
        heads = (-1, model.heads, model.head_dim)
        stream = torch.nn.functional.embedding(self._tokens, given.embedding).float()
        addend: Tensor | None = None
        for layer, (k_pages, v_pages) in zip(given.layers, laid_out.pools, strict=True):
            add_norm(stream, addend, layer.norm, 1e-6, self._normed)
            torch.mm(self._normed, layer.qkv.T, out=self._qkv)
            q, attended = self._q.view(heads), self._attended.view(heads)
            place(
                self._qkv, layer.bias, None, None, self._positions, self._slots, self._cos, self._sin, k_pages,
                v_pages, q,
            )  # fmt: skip
            self._attention.run(q, k_pages, v_pages, attended, laid_out.scale)
            torch.mm(self._attended, layer.out.T, out=self._projected)
            add_norm(stream, self._projected, layer.mlp_norm, 1e-6, self._normed)
            torch.mm(self._normed, layer.gate_up.T, out=self._gate_up)
            swiglu(self._gate_up, self._activated)
            torch.mm(self._activated, layer.down.T, out=self._projected)
            addend = self._projected
        add_norm(stream, addend, given.norm, 1e-6, self._normed)
        torch.mm(self._normed, given.embedding.T, out=self._logits)
        self.sampler.run(self._logits)


def mixes(session: Session) -> list[Mix]:
    """One prompt and k samples of it, the single sample of each prompt first."""
    if session.dry:
        return [Mix(1, k, 70, 5) for k in (1, 3)]
    return [Mix(1, k, prompt, _OWN) for prompt in (2048, 512) for k in (1, 16, 64, 256)]


def run(session: Session, found: Ceilings) -> None:
    """The mixes, for both models."""
    for model in [TINY] if session.dry else [SEVEN, HALF]:
        made = weights(session, model)
        alone: dict[int, float] = {}
        for mix in mixes(session):
            about: dict[str, Any] = {"model": model.name, **mix.about()}
            session.case("step", about, partial(_time, session, found, model, made, mix, alone))


def _time(
    session: Session, found: Ceilings, model: Model, made: Weights, mix: Mix, alone: dict[int, float]
) -> dict[str, Any]:
    step = DecodeStep(session, model, made, mix)
    timing = measure(session, [step.run])
    drawn = step.sampler.fetch().answers().drawn
    require(bool(((drawn.ids >= 0) & (drawn.ids < model.vocab) & (drawn.logprobs <= 0)).all()), "no tokens were drawn")
    if mix.rows == 1:
        alone[mix.prompt] = timing.median
    parameters = model.matmul_parameters
    moved = 2 * parameters + model.layers * mix.moved(model)
    operations = 2 * parameters * mix.rows + model.layers * mix.operations(model)
    # Products and attention follow each other: each has a floor of its own.
    floor = found.floor(2 * parameters, 2 * parameters * mix.rows) + model.layers * found.floor(
        mix.moved(model), mix.operations(model)
    )
    return {
        **timing.row(),
        "floor_us": round(1e6 * floor, 2),
        "reached": round(floor / timing.median, 4),
        "megabytes": round(moved / 1e6, 1),
        "gigaflops": round(operations / 1e9, 2),
        "tokens_per_second": round(mix.rows / timing.median, 1),
        **({"times_one_row": round(timing.median / alone[mix.prompt], 3)} if mix.prompt in alone else {}),
    }
