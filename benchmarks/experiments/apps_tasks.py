"""APPS as it is asked (Hendrycks, Basart et al. 2021, arXiv 2105.09938), and how its programs are judged."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from benchmarks.data import Record, TestDocument, document, program_maker
from benchmarks.experiments.experiment import Task
from benchmarks.experiments.judging import limits_of
from benchmarks.experiments.tasks import Asked
from executor import Limits, Program
from executor.recipes import apps_program

LEVELS = ("introductory", "interview", "competition")
PROMPTS = ("chat", "paper")
_MADE_BY = "the grader's imports before the program, every test run; "


def apps(records: Sequence[Record], prompt: str, limits: Mapping[str, Any], *, compat: bool, to_model: bool) -> Asked:
    """The tasks; all tests of a problem decide and all are run. compat: outputs are compared as the grader does.

    to_model: a server judges, which puts no imports before a program.
    """
    tasks = tuple(_task(record, prompt, limits, compat=compat, to_model=to_model) for record in records)
    settings: dict[str, Any] = {
        "prompt": "the paper's" if prompt == "paper" else "chat, the statement",
        "tests_shown": "those in the statement",
    }
    stop = ("\nQUESTION:",) if prompt == "paper" else ()
    return Asked(tasks=tasks, sampling={"stop": list(stop)} if stop else {}, settings=settings)


def paper_prompt(record: Record) -> str:
    """The prompt of the paper's fine-tuned models, with the form of the answer said as there."""
    starter = f"\n{record.stub}" if record.stub else ""
    form = "\nUse Call-Based format" if record.facts["call_based"] else "\nUse Standard Input format"
    return f"\nQUESTION:\n{record.text}{starter}{form}\nANSWER:\n"


def _task(record: Record, prompt: str, limits: Mapping[str, Any], *, compat: bool, to_model: bool) -> Task:
    made = document(
        record, ask={"completion": paper_prompt(record)} if prompt == "paper" else "words", held_out="decide"
    )
    tests = [_lenient(test) for test in made["tests"]] if compat else made["tests"]
    made = {**made, "tests": tests, "limits": dict(limits)}
    if to_model:
        return Task(record=record, document=made, run_all=True)
    how = "compared as the grader does" if compat else "compared by lines and by values"
    make = partial(_program, record, tests, limits_of(made), compat)
    return Task(record=record, document=made, run_all=True, make=make, made_by=_MADE_BY + how)


def _program(record: Record, tests: list[TestDocument], limits: Limits, compat: bool, code: str) -> Program:
    if compat and "input_output" in record.facts:
        # The record as it was published: methods of a class are compared leniently, too.
        return apps_program(code, record.facts["input_output"], run_all=True)
    asked = Record(
        id=record.id,
        text=record.text,
        entry_point=record.entry_point,
        setup_code=record.setup_code,
        visible=tuple(tests),
    )
    return msgspec.structs.replace(program_maker("apps")(asked, code, limits), run_all=True)


def _lenient(test: TestDocument) -> TestDocument:
    if isinstance(test, str):
        return test
    return {kind: {**body, "comparison": "apps"} for kind, body in test.items()}
