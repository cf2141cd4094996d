"""Distributions out of logits on a GPU: what the sampling kernels tell, as the core wants it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.core.distribution import Distribution
from engine.core.types import Ask, Draw, Mask
from engine.runner.drawing import Collect
from engine.runner.sorting import Logits, distribution
from kernels.gpu import sampling
from kernels.gpu.batch import Batch, Upload
from kernels.gpu.sampling import Answers, Sampler


class DeviceDrawing:
    """Draws on the device; a distribution of which all is wanted is sorted on the host, from its row of logits.

    Room grows with what is asked for.
    """

    def __init__(self, vocab: int, device: torch.device, asks: int, batch: Batch | None = None) -> None:
        """`asks`: of one step, to begin with. `batch`: what copies them to the device."""
        self._vocab = vocab
        self._device = device
        self._batch = batch
        self._sampler = Sampler(vocab, asks, 4 * asks, device, batch=batch)
        self._places = Upload(8 * asks, device, batch)
        self._followed = self._sampler
        self._rows: Sequence[int] = []
        self._asks: Sequence[Ask] = []
        self._whole: list[int] = []  # numbers of the asks that want all
        self._drawn: list[int] = []  # and of the others

    def prepare(self, rows: Sequence[int], asks: Sequence[Ask], after: Sequence[Draw]) -> None:
        """See Drawing."""
        for ask in asks:
            if ask.mask is not None and not leaves_a_token(ask.mask, self._vocab):
                raise ValueError("mask: it leaves no token that may be drawn; end the text before such a mask")
        if after:
            self._prepare_following(after)
        self._rows, self._asks = rows, asks
        self._whole = [place for place, ask in enumerate(asks) if ask.whole and ask.filters.temperature > 0]
        self._drawn = sorted({*range(len(asks))} - {*self._whole}) if self._whole else list(range(len(asks)))
        if self._drawn:
            self._load([rows[place] for place in self._drawn], [asks[place] for place in self._drawn])

    def _prepare_following(self, after: Sequence[Draw]) -> None:
        if self._whole:
            raise ValueError("after: a distribution of which all is wanted is not drawn on the device")
        self._followed = self._sampler
        if 8 * len(after) > len(self._places.device):
            self._places = Upload(16 * len(after), self._device, self._batch)
        self._places.begin().view(torch.int64).numpy()[: len(after)] = self._sampler.places(after)
        self._places.end()

    def follow(self, tokens: Tensor) -> None:
        """See Drawing."""
        self._followed.follow(self._places.device.view(torch.int64), tokens)

    def submit(self, logits: Tensor) -> Collect:
        """See Drawing."""
        asks, drawn, whole = self._asks, self._drawn, self._whole
        fetched = None
        if drawn:
            self._sampler.run(logits)
            fetched = self._sampler.fetch()
        lines: list[Logits] = []
        if whole:
            lines = list(logits[[self._rows[place] for place in whole]].float().cpu().numpy())

        def collect() -> list[Distribution]:
            counts = [len(asks[place].numbers) for place in drawn]
            found = dict(zip(drawn, together(fetched.answers(), counts), strict=True)) if fetched is not None else {}
            found |= {place: distribution(line, asks[place]) for place, line in zip(whole, lines, strict=True)}
            return [found[place] for place in range(len(asks))]

        return collect

    def _load(self, rows: list[int], asks: list[Ask]) -> None:
        number_of: dict[int, int] = {}
        masks: list[Mask] = []
        mask_of = np.full(len(asks), -1, np.int32)
        for place, ask in enumerate(asks):
            if ask.mask is not None:
                mask_of[place] = number_of.setdefault(id(ask.mask), len(masks))
                if mask_of[place] == len(masks):
                    masks.append(ask.mask)
        counts = np.array([len(ask.numbers) for ask in asks], np.int32)
        words = -(-self._vocab // 32)
        given = sampling.Asks(
            rows=np.array(rows, np.int32),
            temperature=np.array([ask.filters.temperature for ask in asks]),
            top_k=np.array([ask.filters.top_k for ask in asks], np.int32),
            top_p=np.array([ask.filters.top_p for ask in asks]),
            min_p=np.array([ask.filters.min_p for ask in asks]),
            counts=counts,
            numbers=np.concatenate([ask.numbers for ask in asks]),
            masks=np.stack([_words(mask, words) for mask in masks]) if masks else np.empty((0, words), np.uint32),
            mask_of=mask_of,
        )
        wanted = (len(asks), int(counts.sum()), len(masks))
        room = (self._sampler.max_asks, self._sampler.max_numbers, self._sampler.max_masks)
        if any(want > have for want, have in zip(wanted, room, strict=True)):
            more = [max(2 * want, have) if want > have else have for want, have in zip(wanted, room, strict=True)]
            self._sampler = Sampler(self._vocab, more[0], more[1], self._device, more[2], self._batch)
        self._sampler.load(given)


def together(answers: Answers, counts: list[int]) -> list[Distribution]:
    """Of each ask its most probable tokens and those that its numbers drew (`counts` of each), in one distribution."""
    count, listed, drawn = len(counts), answers.listed, answers.drawn
    owner = np.repeat(np.arange(count), [len(tokens.ids) for tokens in listed])
    parts = [*listed, drawn]
    ids, low, high, logprobs = (
        np.concatenate([getattr(tokens, name) for tokens in parts]) for name in ("ids", "low", "high", "logprobs")
    )
    keys = np.concatenate([owner, np.repeat(np.arange(count), counts)]).astype(np.int64) << 32 | ids
    _, kept = np.unique(keys, return_index=True)
    ids, low, high, logprobs = ids[kept], low[kept], high[kept], logprobs[kept]
    ends = np.searchsorted(keys[kept], np.arange(1, count + 1, dtype=np.int64) << 32).tolist()
    found: list[Distribution] = []
    start = 0
    for tokens, greedy, end in zip(listed, answers.greedy.tolist(), ends, strict=True):
        # Copies: what one node keeps shall not keep what all others of its step have dropped.
        mine = slice(start, end)
        best = int(np.searchsorted(ids[mine], tokens.ids[greedy]))
        found.append(Distribution(ids[mine].copy(), low[mine].copy(), high[mine].copy(), logprobs[mine].copy(), best))
        start = end
    return found


def leaves_a_token(mask: Mask, vocab: int) -> bool:
    """Whether any token below `vocab` is allowed."""
    words, rest = divmod(vocab, 32)
    return bool(mask[:words].any()) or bool(len(mask) > words and rest and int(mask[words]) & ((1 << rest) - 1))


def _words(mask: Mask, words: int) -> npt.NDArray[np.uint32]:
    """The mask with so many words."""
    found = np.zeros(words, np.uint32)
    found[: len(mask)] = mask[:words]
    return found
