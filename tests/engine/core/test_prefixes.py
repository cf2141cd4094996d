"""The cache of prompts, alone against a list of what it holds and in the scheduler."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from engine.core.pages import PagePool
from engine.core.prefixes import PrefixCache
from tests.support.core_harness import Harness, request
from tests.support.scripted_runner import ScriptedRunner

SIZE = 2
PAGES = 12


class Cache(RuleBasedStateMachine):
    """Solves come with prompts, hold their pages for a while and go; the pool is small."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.pool = PagePool(PAGES)
        self.cache = PrefixCache(self.pool, SIZE)
        self.contents: dict[int, tuple[int, ...]] = {}  # page -> the tokens up to its end, when it was written
        self.live: dict[int, list[int]] = {}
        self.next = 0

    @rule(target=held, tokens=st.lists(st.integers(0, 1), min_size=1, max_size=9))
    def begin(self, tokens: list[int]) -> int:
        pages = self.cache.take(tokens)
        assert len(pages) <= (len(tokens) - 1) // SIZE
        for place, page in enumerate(pages):
            assert self.contents[page] == tuple(tokens[: (place + 1) * SIZE]), "a page with other tokens"
        need = -(-len(tokens) // SIZE) - len(pages)
        if not self.cache.make_room(need):
            for page in pages:
                self.pool.release(page)
            return -1
        for place in range(len(pages), len(pages) + need):
            page = self.pool.allocate()
            self.contents[page] = tuple(tokens[: (place + 1) * SIZE])
            pages.append(page)
        self.cache.keep(tokens, pages)
        self.next += 1
        self.live[self.next] = pages
        return self.next

    @rule(solve=held)
    def end(self, solve: int) -> None:
        for page in self.live.pop(solve, []):
            self.pool.release(page)

    @invariant()
    def sound(self) -> None:
        holders: dict[int, int] = {}
        for pages in self.live.values():
            for page in pages:
                holders[page] = holders.get(page, 0) + 1
        self.cache.check_invariants(holders)
        self.pool.check_invariants(holders)

    def teardown(self) -> None:
        for solve in list(self.live):
            self.end(solve)
        assert self.pool.free + self.pool.idle == PAGES
        assert self.cache.make_room(PAGES), "all of it can be taken back"
        assert self.cache.pages == 0


TestCache = Cache.TestCase


def prefilled(harness: Harness, solve: int, prompt: list[int]) -> int:
    """Tokens of the prompt that the runner computed."""
    before = len(harness.runner.steps)
    harness.scheduler.submit(request(solve=solve, prompt=prompt, k=2, new=3))
    harness.run()
    chunks = [chunk for step in harness.runner.steps[before:] for chunk in step.chunks]
    return sum(len(chunk.tokens) for chunk in chunks if chunk.start + len(chunk.tokens) <= len(prompt))


@pytest.mark.parametrize(("edit", "computed"), [(None, 4), (29, 4), (14, 20), (0, 32)])
def test_an_edit_computes_what_follows_it(edit: int | None, computed: int) -> None:
    """A prompt of 32 tokens in pages of 4, again with one token changed: from the edit's page on."""
    prompt = [1 + i % 7 for i in range(32)]
    harness = Harness(ScriptedRunner(pages=100))
    assert prefilled(harness, 1, prompt) == 32
    again = list(prompt)
    if edit is not None:
        again[edit] = 11
    assert prefilled(harness, 2, again) == computed
    assert harness.ended(2).counts.cached_tokens == 32 - computed


def test_what_is_used_often_stays() -> None:
    pool = PagePool(4)
    cache = PrefixCache(pool, 1)
    for tokens in ([1, 2], [1, 3], [1, 4]):
        pages = cache.take(tokens)
        pages += [pool.allocate() for _ in range(2 - len(pages))]
        cache.keep(tokens, pages)
        for page in pages:
            pool.release(page)
    assert cache.make_room(3)
    assert (cache.pages, cache.evicted) == (1, 3)
    assert len(cache.take([1, 9])) == 1


def test_a_prompt_in_the_cache_never_keeps_a_solve_out() -> None:
    runner = ScriptedRunner(pages=12)
    harness = Harness(runner)
    for solve in range(6):
        harness.scheduler.submit(request(solve=solve, prompt=[1 + solve] * 20, k=3, new=8))
        harness.run()
    assert harness.scheduler.prefixes.evicted > 0
