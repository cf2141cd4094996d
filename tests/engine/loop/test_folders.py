"""A whole engine over a Hugging Face folder: chats, completions and holes, in each family's own form."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.tiny_models import FAMILIES, write_folder
from support.tiny_tokenizers import INFILL, byte_level_folder, sentence_piece, write_files

from engine.core.types import BranchFinished, CoreEvent, Filters, SolveEnded
from engine.loop.client import EngineClient, EngineDown, SubmitRefused, thread_starter
from engine.loop.messages import EngineConfig, Infill, Submit, Turn
from engine.loop.process import serve


def config(path: Path) -> EngineConfig:
    return EngineConfig(
        name="tiny",
        path=str(path),
        arithmetic="float32",
        threads=1,
        kv_bytes=1 << 22,
        page_tokens=16,
        rows=4,
        step_seconds=1.0,
        waiting=4,
    )


def submission(prompt: str | tuple[Turn, ...] | Infill) -> Submit:
    return Submit(
        solve=0,
        prompt=prompt,
        k=2,
        filters=Filters(temperature=0.8, top_k=0, top_p=1.0, min_p=0.0),
        seed=1,
        max_new_tokens=5,
        stop=(),
        end_at_program=True,
        part_of_program=False,
        entry_point=None,
        greedy_first=False,
        width=None,
        max_rows=None,
        max_tokens=None,
        interactive=True,
        delta_seconds=None,
    )


def qwen(folder: Path) -> Path:
    byte_level_folder(folder)
    return write_folder(folder, FAMILIES["qwen3"])


def code_llama(folder: Path) -> Path:
    tokenizer = sentence_piece(extra=INFILL)
    write_files(folder, tokenizer, vocab_size=1, eos_token="</s>")
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    return write_folder(folder, replace(FAMILIES["llama"], config=FAMILIES["llama"].config | {"vocab_size": size}))


async def drawn(client: EngineClient, message: Submit) -> tuple[int, int]:
    """Tokens of the prompt, and samples that finished."""
    events: list[CoreEvent] = []
    ended = asyncio.Event()

    def sink(more: list[CoreEvent] | None) -> None:
        events.extend(more or [])
        if more is None or any(isinstance(event, SolveEnded) for event in more):
            ended.set()

    admitted = await client.submit(message, sink)
    await asyncio.wait_for(ended.wait(), 60)
    return admitted.prompt_tokens, sum(len(event.samples) for event in events if isinstance(event, BranchFinished))


@pytest.mark.parametrize("make", [qwen, code_llama])
async def test_an_engine_over_a_folder(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path / "model")
    client = EngineClient(
        thread_starter(lambda connection: serve(connection, config(path))),
        on_report=lambda _: None,
        on_change=lambda: None,
    )
    with capture_logs() as logs:
        facts = await client.start()
    told = [str(log["part"]) for log in logs if log["event"] == "engine_loading"]
    assert [part.split(",")[0] for part in told] == ["the model's weights", "kernels"]
    try:
        assert (facts.context_length, facts.dtype) == (512, "float32")
        assert (facts.chat, facts.infill) == ((True, False) if make is qwen else (False, True))
        chat = (Turn("user", "write f"),)
        tokens, finished = await drawn(client, submission(chat))
        assert finished == 2
        bare, finished = await drawn(client, submission("write f\n\n"))
        assert finished == 2
        # Without a template the bare text is continued; with one there are marks around it.
        assert tokens > bare if make is qwen else tokens == bare
        hole = submission(Infill("def f():\n", "\nf()\n", ""))
        if make is qwen:
            with pytest.raises(SubmitRefused, match=r"not trained to fill in the middle"):
                await client.submit(hole, lambda _: None)
        else:
            assert (await drawn(client, hole))[1] == 2
    finally:
        await client.close()


async def test_a_folder_that_cannot_be_served_says_why(tmp_path: Path) -> None:
    path = qwen(tmp_path / "model")
    (path / "tokenizer.json").write_bytes(b"{")
    client = EngineClient(
        thread_starter(lambda connection: serve(connection, config(path))),
        on_report=lambda _: None,
        on_change=lambda: None,
    )
    with pytest.raises(EngineDown, match=r"tokenizer\.json: is no JSON"):
        await client.start()
    await client.close()
