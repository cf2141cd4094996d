"""MBPP as it is asked: the few-shot prompt of its paper, or a chat for models that were taught to answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.data import Record
from benchmarks.experiments.errors import CannotRun
from benchmarks.experiments.experiment import Task
from benchmarks.experiments.tasks import Asked, document, quoted, user

SHOT_IDS = ("2", "3", "4")
"""The examples of Austin, Odena et al. 2021, in their order."""
STOP = ("[DONE]",)
PROMPTS = ("few-shot", "chat")
MOST_TESTS = 3

_TASK = "You are an expert Python programmer, and here is your task: {text}"
_TESTS = " Your code should pass these tests:\n\n{tests}"


def mbpp(
    records: Sequence[Record],
    prompt: str,
    limits: Mapping[str, Any],
    *,
    shown: int,
    shots: Sequence[Record],
) -> Asked:
    """The tasks. `prompt` is one of PROMPTS; `shown` tests are quoted, all of a problem's tests decide.

    `shots` are the examples of the few-shot prompt; a chat has none. Raises CannotRun.
    """
    if prompt not in PROMPTS:
        raise CannotRun(f"--prompt: {prompt!r} is none of {', '.join(PROMPTS)}")
    if not 0 <= shown <= MOST_TESTS:
        raise CannotRun(f"--tests-in-prompt: {shown} is not from 0 to {MOST_TESTS}")
    asked = few_shot if prompt == "few-shot" else chat
    tasks = tuple(
        Task(record=record, document=document(record, asked(record, shown, shots), limits)) for record in records
    )
    settings: dict[str, Any] = {
        "prompt": f"{prompt}, as the paper's" if prompt == "few-shot" else "chat",
        "tests_shown": shown,
    }
    if prompt == "chat":
        return Asked(tasks=tasks, sampling={}, settings=settings, stop=STOP)
    return Asked(
        tasks=tasks,
        sampling={"stop": list(STOP), "keep_after_program": True},
        settings={**settings, "shots": [shot.id for shot in shots]},
        stop=STOP,
    )


def few_shot(record: Record, shown: int, shots: Sequence[Record]) -> dict[str, Any]:
    """The paper's prompt: a block for each example, then one for the problem, up to where its program begins.

    Every block quotes `shown` tests; with 0 the sentence about tests is left out. An example's code is as it was
    published, line ends included. Upstream says nothing of what stands between blocks: a blank line here, as in
    lm-evaluation-harness.
    """
    blocks = [f"{_block(shot, shown)}{shot.references[0]}\n[DONE]" for shot in shots]
    return {"completion": "\n\n".join([*blocks, _block(record, shown)])}


def chat(record: Record, shown: int, shots: Sequence[Record]) -> dict[str, Any]:
    """The same task as one turn of a chat; with 0 tests nothing says what the function is called, as in the paper."""
    tests = quoted(record.visible[:shown])
    shows = f"\n\nYour code should pass these tests:\n```python\n{tests}\n```" if tests else ""
    text = f"You are an expert Python programmer, and here is your task:\n{record.text.strip()}{shows}"
    return user(f"{text}\n\nWrite only the function, in one ```python code block. Do not repeat the tests.")


def require_no_answers(records: Sequence[Record], shots: Sequence[Record]) -> None:
    """Raises CannotRun where a problem is an example of its own prompt, which would tell a model its answer."""
    both = [record.id for record in records if record.id in {shot.id for shot in shots}]
    if both:
        raise CannotRun(
            f"problems {', '.join(both)} are examples of the prompt, which would tell their answers; leave them out by "
            "--split or --ids, or take --shots 0"
        )


def shots_of(records: Sequence[Record], count: int) -> tuple[Record, ...]:
    """The first `count` examples of the paper. Raises CannotRun where they are not there."""
    if not 0 <= count <= len(SHOT_IDS):
        raise CannotRun(f"--shots: {count} is not from 0 to {len(SHOT_IDS)}")
    by_id = {record.id: record for record in records}
    missing = [one for one in SHOT_IDS[:count] if one not in by_id]
    if missing:
        raise CannotRun(f"the examples {', '.join(missing)} of the prompt are not in this set; take fewer --shots")
    return tuple(by_id[one] for one in SHOT_IDS[:count])


def _block(record: Record, shown: int) -> str:
    tests = quoted(record.visible[:shown])
    return _TASK.format(text=record.text) + (_TESTS.format(tests=tests) if tests else "") + "\n[BEGIN]\n"
