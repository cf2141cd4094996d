"""Logits on the device to draws: three launches for all rows of a step, and one copy each way.

What is asked and answered is that of engine.runner.sampler: the mask, then temperature, then top-k, then top-p, then
min-p, each on what the one before has left, equal probabilities by id; a number draws by inverse transform over token
ids in ascending order. An answer is the same, bit for bit, whatever else is asked in the step.
"""

# Triton takes options at a launch that its types do not name.
# pyright: reportCallIssue=false

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
import triton
from torch import Tensor

from kernels.gpu.batch import Batch, Upload
from kernels.gpu.draw import FOUND, LISTED, NEAR, draw_kernel
from kernels.gpu.follow import follow_kernel
from kernels.gpu.masses import GROUP, TILE, masses_kernel, peaks_kernel

_MOST_TOKENS = 2**19 - 1
_FOLLOWING = 128

_Shapes = dict[str, tuple[tuple[int, ...], torch.dtype]]


@dataclass(slots=True, kw_only=True)
class Asks:
    """Distributions that are asked for, and the numbers that draw from them.

    rows: [n], rows of the logits. temperature (0: greedy), top_k (0: no limit), top_p (1: no limit), min_p (0: no
    limit): [n]. counts: [n], how many of the numbers belong to each, in order. numbers: [m] float64 in [0, 1); or
    `seeds`, `samples`, `positions`, [m] each, from which the device makes them (engine.core.randomness.uniforms).
    masks: [k, words] uint32, bit token % 32 of word token // 32 for the tokens that may be drawn, at least one;
    mask_of: [n], the mask of each ask, -1 for none.
    """

    rows: npt.NDArray[np.int32]
    temperature: npt.NDArray[np.float64]
    top_k: npt.NDArray[np.int32]
    top_p: npt.NDArray[np.float64]
    min_p: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int32]
    numbers: npt.NDArray[np.float64] | None = None
    seeds: npt.NDArray[np.uint64] | None = None
    samples: npt.NDArray[np.uint32] | None = None
    positions: npt.NDArray[np.uint32] | None = None
    masks: npt.NDArray[np.uint32] = field(default_factory=lambda: np.empty((0, 0), np.uint32))
    mask_of: npt.NDArray[np.int32] | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens with the numbers that draw them, low <= number < high (float64), and the natural logarithm of their
    probability at temperature 1 without a filter (float32; of a masked distribution the mask is a part)."""

    ids: npt.NDArray[np.int32]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    logprobs: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Answers:
    """drawn: the token of each number. listed: for each ask its most probable tokens, ascending by id: those of at
    least 1 / 4096, at most `LISTED`, and always the greedy one, whose index is in `greedy` ([n])."""

    drawn: Tokens
    listed: list[Tokens]
    greedy: npt.NDArray[np.int32]


class Fetched:
    """The answers of one run on their way to the host."""

    def __init__(self, host: "_Host", max_asks: int) -> None:
        self._host = host
        self._drawn = max_asks * LISTED

    def answers(self) -> Answers:
        """Wait for them. The arrays are the caller's. Once, and before the run after the next is fetched."""
        host = self._host
        if host.answered is not None:
            host.answered.synchronize()
        heads, *columns = (host.fetched[name].numpy().copy() for name in ("heads", "ids", "low", "high", "logprobs"))
        heads = heads[: len(host.counts)]

        def part(start: int, count: int) -> Tokens:
            return Tokens(*(column[start : start + count] for column in columns))

        return Answers(
            drawn=part(self._drawn, int(host.counts.sum())),
            listed=[part(ask * LISTED, count) for ask, count in enumerate(heads[:, 0].tolist())],
            greedy=heads[:, 1],
        )


class _Host:
    """Pinned memory of one step: its masks, and what is answered."""

    def __init__(self, answer: _Shapes, masks: tuple[int, int], *, pinned: bool) -> None:
        self.fetched_bytes = torch.zeros(_size(answer), dtype=torch.uint8, pin_memory=pinned)
        self.fetched = _sections(self.fetched_bytes, answer)
        self.masks = torch.empty(masks, dtype=torch.int32, pin_memory=pinned)
        self.loaded = torch.cuda.Event() if pinned else None
        self.answered = torch.cuda.Event() if pinned else None
        self.counts: npt.NDArray[np.int32] = np.empty(0, np.int32)


class Sampler:
    """Answers up to `max_asks` asks with `max_numbers` numbers and `max_masks` masks a step.

    Every buffer is made once, so that `run` can be captured in a graph and replayed for other asks: `load` before it,
    `fetch` after it. One step more may be loaded, run and fetched before the answers of the last are waited for.

    Raises:
        ValueError: a vocabulary of 2**19 tokens or more, for whose sums 63 bits do not suffice.
    """

    def __init__(
        self,
        vocab: int,
        max_asks: int,
        max_numbers: int,
        device: torch.device | str,
        max_masks: int = 0,
        batch: Batch | None = None,
    ) -> None:
        """`batch`: what copies the asks to the device; None: a `load` copies them."""
        if not 0 < vocab <= _MOST_TOKENS:
            raise ValueError(f"vocab is {vocab}: at least 1 and at most {_MOST_TOKENS} tokens can be summed")
        self.vocab, self.max_asks, self.max_numbers, self.max_masks = vocab, max_asks, max_numbers, max_masks
        device = torch.device(device)
        pinned = device.type == "cuda"
        self._tiles = triton.cdiv(vocab, TILE)
        self._width = int(triton.next_power_of_2(self._tiles))
        self._words = -(-vocab // 32)
        asked = {
            "parameters": ((max_asks, 3), torch.float64),
            "numbers": ((max_numbers,), torch.float64),
            "keys": ((max_numbers, 2), torch.int64),
            "asks": ((max_asks + 1, 4), torch.int32),
            "n_asks": ((1,), torch.int32),
        }
        answered = max_asks * LISTED + max_numbers
        answer = {
            "low": ((answered,), torch.float64),
            "high": ((answered,), torch.float64),
            "logprobs": ((answered,), torch.float32),
            "ids": ((answered,), torch.int32),
            "heads": ((max_asks, 2), torch.int32),
        }
        self._upload = Upload(_size(asked), device, batch)
        self._shapes = asked
        self._asked = _sections(self._upload.device, asked)
        self._answer_bytes = torch.zeros(_size(answer), dtype=torch.uint8, device=device)
        self._answer = _sections(self._answer_bytes, answer)
        self._masks = torch.empty(max(1, max_masks), self._words, dtype=torch.int32, device=device)
        # A step's answers may still be on their way while the next one is asked.
        self._hosts = [_Host(answer, (max(1, max_masks), self._words), pinned=pinned) for _ in range(2)]
        tile, near, long = (max_asks, self._width), (max_asks, NEAR + FOUND), torch.int64
        self._peaks = torch.empty(tile, dtype=torch.float32, device=device)
        self._peak_ids, self._listed_tiles = torch.empty((2, *tile), dtype=torch.int32, device=device)
        self._masses, self._plain_masses, self._starts = torch.empty((3, *tile), dtype=long, device=device)
        self._values = torch.empty(near, dtype=torch.float32, device=device)
        self._near_ids = torch.empty(near, dtype=torch.int32, device=device)
        self._lows = torch.empty((max_asks, FOUND), dtype=long, device=device)
        self.keyed = False
        """Whether the numbers loaded last are to be made on the device: `run` is another launch then."""

    def load(self, asks: Asks) -> None:
        """Write what is asked, to be copied with the batch or, without one, now; masks are copied now.

        Raises:
            ValueError: more than there is room for, or a filter, row or mask that cannot be.
        """
        count, numbers = len(asks.rows), int(asks.counts.sum())
        self._check(asks, count, numbers)
        self._hosts.reverse()
        host = self._hosts[0]
        staged = _sections(self._upload.begin(), self._shapes)
        greedy = asks.temperature == 0
        table = staged["asks"].numpy()
        table[:count, 0] = asks.rows
        table[:count, 1] = -1 if asks.mask_of is None else asks.mask_of
        table[:count, 2] = np.where(greedy, 1, asks.top_k)
        table[0, 3] = 0
        np.cumsum(asks.counts, out=table[1 : count + 1, 3])
        parameters = staged["parameters"].numpy()
        parameters[:count, 0] = np.where(greedy, 1.0, asks.temperature)
        parameters[:count, 1] = np.where(greedy, 1.0, asks.top_p)
        parameters[:count, 2] = np.where(greedy, 0.0, asks.min_p)
        self.keyed = asks.numbers is None
        if asks.numbers is not None:
            staged["numbers"].numpy()[:numbers] = asks.numbers
        elif asks.seeds is not None and asks.samples is not None and asks.positions is not None:
            keys = staged["keys"].numpy()
            keys[:numbers, 0] = asks.seeds.astype(np.uint64).view(np.int64)
            keys[:numbers, 1] = asks.samples.astype(np.int64) | asks.positions.astype(np.int64) << 32
        staged["n_asks"][0] = count
        self._upload.end()
        if len(asks.masks):
            if host.loaded is not None:
                host.loaded.synchronize()  # the masks of the last step but one have left this memory
            masks = host.masks[: len(asks.masks)]
            masks.zero_()
            words = min(self._words, asks.masks.shape[1])
            masks.numpy()[:, :words] = asks.masks[:, :words].view(np.int32)
            self._masks[: len(asks.masks)].copy_(masks, non_blocking=True)
            if host.loaded is not None:
                host.loaded.record()
        host.counts = asks.counts.copy()

    def run(self, logits: Tensor, room: int | None = None) -> None:
        """Answer what is loaded. logits: [rows, vocab] in any float type, elements of a row adjacent, without NaN.

        room: for how many asks to launch programs, if that is to be more than are loaded now (in a graph).
        """
        if logits.shape[1] != self.vocab or logits.stride(1) != 1:
            raise ValueError(f"logits is {tuple(logits.shape)}, strides {logits.stride()}: rows of {self.vocab} wanted")
        programs = len(self._hosts[0].counts) if room is None else room
        if not programs:
            return
        asked, answer = self._asked, self._answer
        sizes = {"TILE": TILE, "TILES": self._width}
        stride = logits.stride(0)
        groups = (programs, triton.cdiv(self._tiles, GROUP))
        peaks_kernel[groups](
            logits, asked["asks"], self._masks, asked["n_asks"], self._peaks, self._peak_ids, stride, self._words,
            self.vocab, GROUP=GROUP, **sizes, num_warps=8,
        )  # fmt: skip
        masses_kernel[groups](
            logits, asked["asks"], asked["parameters"], self._masks, asked["n_asks"], self._peaks, self._masses,
            self._plain_masses, stride, self._words, self.vocab, GROUP=GROUP, **sizes, num_warps=8,
        )  # fmt: skip
        draw_kernel[(programs,)](
            logits, asked["asks"], asked["parameters"], self._masks, asked["n_asks"], asked["keys"], asked["numbers"],
            self._peaks, self._peak_ids, self._masses, self._plain_masses, self._listed_tiles, self._starts,
            self._values, self._near_ids, self._lows, answer["heads"], answer["ids"], answer["low"], answer["high"],
            answer["logprobs"], stride, self._words, self.vocab, self.max_asks * LISTED,
            KEYED=self.keyed, NEAR=NEAR, FOUND=FOUND, LISTED=LISTED, **sizes, num_warps=4,
        )  # fmt: skip

    @property
    def drawn(self) -> Tensor:
        """[max_numbers] int32 on the device: the tokens of the numbers of the last run."""
        return self._answer["ids"][self.max_asks * LISTED :]

    def places(self, draws: Sequence[tuple[int, int | None]]) -> npt.NDArray[np.int64]:
        """Where `follow` finds the tokens that the asks loaded last draw, [n].

        draws: of each the ask, and which of its numbers; None: the ask's greedy token.
        """
        asks, numbers = np.array([(ask, -1 if number is None else number) for ask, number in draws], np.int64).T
        counts = self._hosts[0].counts
        first = self.max_asks * LISTED + np.cumsum(counts) - counts
        return np.where(numbers < 0, -1 - asks, first[asks] + numbers)

    def follow(self, places: Tensor, tokens: Tensor) -> None:
        """Write to `tokens` [n] int64 what the last run has drawn at `places` [n] int64, on the device."""
        sizes = {"LISTED": LISTED, "BLOCK": _FOLLOWING}
        grid = (triton.cdiv(len(tokens), _FOLLOWING),)
        follow_kernel[grid](
            self._answer["ids"], self._answer["heads"], places, tokens, len(tokens), **sizes, num_warps=4
        )

    def fetch(self) -> Fetched:
        """Start the copy of the answers to the host."""
        host = self._hosts[0]
        host.fetched_bytes.copy_(self._answer_bytes, non_blocking=True)
        if host.answered is not None:
            host.answered.record()
        return Fetched(host, self.max_asks)

    def _check(self, asks: Asks, count: int, numbers: int) -> None:
        if count > self.max_asks:
            raise ValueError(f"asks: {count} of them, and there is room for {self.max_asks}")
        if numbers > self.max_numbers:
            raise ValueError(f"numbers: {numbers} of them, and there is room for {self.max_numbers}")
        if len(asks.masks) > self.max_masks:
            raise ValueError(f"masks: {len(asks.masks)} of them, and there is room for {self.max_masks}")
        given = (asks.numbers,) if asks.numbers is not None else (asks.seeds, asks.samples, asks.positions)
        if any(part is None or len(part) != numbers for part in given):
            raise ValueError(f"numbers: give {numbers}, as `counts` says, or as many seeds, samples and positions")
        if not ((asks.temperature >= 0) & (asks.top_k >= 0) & (asks.top_p > 0) & (asks.min_p <= 1)).all():
            raise ValueError("filters: temperature and top_k must not be negative, top_p be above 0, min_p at most 1")
        if asks.mask_of is not None and not ((asks.mask_of >= -1) & (asks.mask_of < len(asks.masks))).all():
            raise ValueError(f"mask_of: it names a mask that is not among the {len(asks.masks)} given")


def _size(shapes: _Shapes) -> int:
    return sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in shapes.values())


def _sections(whole: Tensor, shapes: _Shapes) -> dict[str, Tensor]:
    """The parts of a buffer of bytes, those of the widest types first, so that each is aligned."""
    parts = torch.split(whole, [int(np.prod(shape)) * dtype.itemsize for shape, dtype in shapes.values()])
    views = zip(shapes.items(), parts, strict=True)
    return {name: part.view(dtype).view(shape) for (name, (shape, dtype)), part in views}
