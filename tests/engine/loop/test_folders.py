"""A whole engine over a Hugging Face folder: chats, completions and holes, in each family's own form."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs
from support.tiny_models import FAMILIES, write_folder
from support.tiny_tokenizers import INFILL, byte_level_folder, sentence_piece, write_files

from engine.core.types import BranchFinished, CoreEvent, Filters, Mode, SolveEnded
from engine.loop.client import EngineClient, EngineDown, SubmitRefused, thread_starter
from engine.loop.messages import Completion, Constraint, EngineConfig, Infill, Prompt, Submit, Turn
from engine.loop.process import serve


def config(path: Path, *, strict: bool = False) -> EngineConfig:
    return EngineConfig(
        name="tiny",
        path=str(path),
        device="cpu",
        arithmetic="float32",
        strict=strict,
        threads=1,
        kv_bytes=1 << 22,
        page_tokens=16,
        rows=4,
        step_seconds=1.0,
        waiting=4,
        drafting=True,
    )


def submission(prompt: Prompt) -> Submit:
    return Submit(
        solve=0,
        prompts=(prompt,),
        k=2,
        mode=Mode.INDEPENDENT,
        filters=(Filters(temperature=0.8, top_k=0, top_p=1.0, min_p=0.0),),
        length_penalty=1.0,
        seed=1,
        max_new_tokens=5,
        stop=(),
        end_at_program=True,
        entry_point=None,
        prune=False,
        constraint=None,
        greedy_first=False,
        width=None,
        max_rows=None,
        max_tokens=None,
        interactive=True,
        delta_seconds=None,
        client="",
        seconds_left=None,
        first_pass=False,
        judges=1,
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
    told = [log for log in logs if log["event"] in ("engine_loading", "engine_loaded")]
    assert {log["model"] for log in told} == {"tiny"}
    assert [(log["event"], str(log["part"]).split(",")[0]) for log in told] == [
        ("engine_loading", "torch"),
        ("engine_loading", "weights"),
        ("engine_loaded", "weights"),
        ("engine_loading", "kernels"),
        ("engine_loaded", "kernels"),
    ]
    # This machine may have compiled them before, or not.
    assert re.fullmatch(r"taken from the cache|\d+ compiled for this processor", told[-1]["how"])
    assert all(log["seconds"] >= 0 for log in told if log["event"] == "engine_loaded")
    try:
        assert (facts.context_length, facts.dtype, facts.deterministic) == (512, "float32", False)
        assert (facts.chat, facts.infill) == ((True, False) if make is qwen else (False, True))
        chat = (Turn("user", "write f"),)
        tokens, finished = await drawn(client, submission(chat))
        assert finished == 2
        bare, finished = await drawn(client, submission(Completion("write f\n\n", part_of_program=False)))
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


async def test_a_model_that_cannot_be_strict_is_refused(tmp_path: Path) -> None:
    path = qwen(tmp_path / "model")
    client = EngineClient(
        thread_starter(lambda connection: serve(connection, config(path, strict=True))),
        on_report=lambda _: None,
        on_change=lambda: None,
    )
    with pytest.raises(EngineDown, match="strict: heads of 32 dimensions"):
        await client.start()
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


async def test_constraints_hold_in_every_mode_of_a_whole_engine(tmp_path: Path) -> None:
    path = qwen(tmp_path / "model")
    client = EngineClient(
        thread_starter(lambda connection: serve(connection, config(path))),
        on_report=lambda _: None,
        on_change=lambda: None,
    )
    await client.start()
    asked = msgspec.structs.replace(
        submission(Completion("n = ", part_of_program=False)),
        constraint=Constraint("regex", "[0-9]{2}(,[ab]){1,2}"),
        max_new_tokens=12,
        k=6,
    )
    try:
        for mode in Mode:
            texts: list[str] = []
            ended = asyncio.Event()

            def sink(events: list[CoreEvent] | None, texts: list[str] = texts, ended: asyncio.Event = ended) -> None:
                texts.extend(event.text for event in events or [] if isinstance(event, BranchFinished))
                if any(isinstance(event, SolveEnded) for event in events or []):
                    ended.set()

            await client.submit(msgspec.structs.replace(asked, mode=mode, filters=(Filters(temperature=1.0),)), sink)
            await asyncio.wait_for(ended.wait(), 60)
            assert len(texts) >= 2
            assert all(re.fullmatch("[0-9]{2}(,[ab]){1,2}", text) for text in texts), texts
        with pytest.raises(SubmitRefused, match="unclosed group"):
            await client.submit(msgspec.structs.replace(asked, constraint=Constraint("regex", "(")), lambda _: None)
        with pytest.raises(SubmitRefused, match=r"where the program is must be known"):
            await client.submit(msgspec.structs.replace(asked, constraint=None, prune=True), lambda _: None)
    finally:
        await client.close()
