"""The commands: what they refuse before anything is drawn, and what they print without drawing."""

import re
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
import typer
from thresher.client import ProblemError, ThresherError
from typer.testing import CliRunner, Result

from benchmarks.command import app
from benchmarks.experiments.commands.options import numbers, with_errors_told
from benchmarks.experiments.errors import CannotRun

COMMANDS = (
    "humaneval",
    "mbpp",
    "edited",
    "prompt-tests",
    "ensemble",
    "curve",
    "sweep",
    "apps",
    "contests",
    "mathqa",
    "prediction",
    "overfit",
    "selection",
)
WITHOUT_K = ("curve", "ensemble", "apps", "overfit")


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def here(tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with the problem sets at hand."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THRESHER_DATA", str(data_folder.resolve()))
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_shared_options(name: str) -> None:
    text = re.sub(r"\x1b\[[\d;]*m", "", run(name, "--help").output)
    for option in ("--data", "--samples", "--temperature", "--generator", "--server", "--recorded", "--out", "--seed"):
        assert option in text or (name, option) == ("ensemble", "--samples"), option
    assert ("--k " in text) == (name not in WITHOUT_K)


def test_a_refused_field_is_named_by_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    def refused(error: Exception) -> str:
        def work() -> None:
            raise error

        with pytest.raises(typer.Exit):
            with_errors_told(work)
        return capsys.readouterr().err

    sent = ThresherError(grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST", "spec.sampling.temperature: 200 is too much")
    told = "INVALID_ARGUMENT/BAD_REQUEST: --temperature (spec.sampling.temperature): 200 is too much"
    assert refused(sent) == f"thresher bench: {told}\n"
    assert refused(ProblemError("sampling.k", "0 is too small")) == (
        "thresher bench: --samples (sampling.k): 0 is too small\n"
    )
    assert refused(ProblemError("tests[0]", "is empty")) == "thresher bench: tests[0]: is empty\n"


@pytest.mark.parametrize("name", ["ways", "sizes"])
def test_experiments_about_models_ask_for_one(here: Path, name: str) -> None:
    result = run(name, "--generator", "reference")
    assert result.exit_code == 2 and "--generator reference" in result.output
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("humaneval --samples 5 --k 1,10", "pass@10 is not defined for 5 samples"),
        ("humaneval --k 0", "--k: '0' is not a list of whole numbers above 0"),
        ("humaneval --k some", "--k: 'some' is not a list"),
        ("humaneval --generator oracle", "--generator: 'oracle' is none of server, reference, synthetic, replay"),
        ("humaneval --model nosuch", "model 'nosuch' is neither in the catalogue nor a file"),
        ("humaneval --problems 165", "--problems: 165 are asked for, and 164 are here"),
        ("humaneval --ids HumanEval/0,HumanEval/900", "HumanEval/900 is not among the 164 problems"),
        ("humaneval --split test", "has no split 'test'; it has: all"),
        ("humaneval --generator reference --top-p 0.5", "--top-p has no meaning for --generator reference"),
        ("humaneval --generator reference --greedy", "--greedy has no meaning for --generator reference"),
        ("humaneval --generator reference --seed 1", "--seed has no meaning for --generator reference"),
        ("humaneval --generator reference --end paper", "--end has no meaning for --generator reference"),
        ("mbpp --generator reference --shots 3", "--shots has no meaning for --generator reference"),
        ("mbpp --prompt chat --shots 3", "a chat has no examples"),
        ("curve --generator reference --prompt chat", "--prompt has no meaning for --generator reference"),
        ("sweep --generator synthetic --p 0.5 --top-p 0.5", "--top-p has no meaning for --generator synthetic"),
        ("humaneval --generator reference --out /proc/no/r.json", "cannot be written"),
        ("humaneval --only-recorded", "--only-recorded goes with --generator replay"),
        ("humaneval --token-file x", "--token-file goes with --server"),
        ("humaneval --generator synthetic --p 2", "2 is no probability"),
        ("humaneval --generator replay --recorded absent.jsonl", "--recorded: absent.jsonl cannot be read"),
        ("humaneval --prompt chat --end paper", "take --prompt completion"),
        ("humaneval --print-prompt HumanEval/999", "'HumanEval/999' is not among the 164 problems"),
        ("mbpp --shots 4", "--shots: 4 is not from 0 to 3"),
        ("mbpp --tests-in-prompt 4", "--tests-in-prompt: 4 is not from 0 to 3"),
        ("mbpp --split prompt", "problems 2, 3, 4 are examples of the prompt"),
        ("mbpp --data nowhere", "--data"),
        ("curve --set apps", "--set: 'apps' is none of humaneval, mbpp, mbpp-sanitized"),
        ("sweep --temperature 0.2", "names no two or more different temperatures"),
        ("sweep --temperature 0.2,0.2", "names no two or more different temperatures"),
        ("sweep --temperature hot,cold", "names no two or more different temperatures"),
        ("sweep --generator reference", "a temperature means nothing to --generator reference"),
        ("edited --generator reference --prompt chat", "--prompt has no meaning for --generator reference"),
        ("edited --generator reference --problems 500", "--problems: 500 are asked for"),
        ("prompt-tests --tests 1", "--tests: '1' names no two or more different numbers from 0 to 3"),
        ("prompt-tests --tests 0,4", "--tests: '0,4' names no two or more"),
        ("ensemble --ensemble 4 --total-k 10", "10 samples cannot be shared equally among 4 prompts"),
        ("ensemble --generator reference", "prompts mean nothing to --generator reference"),
        ("ensemble --split train", "are examples of the prompt"),
        ("apps --level easy", "--level: 'easy' is none of introductory, interview, competition"),
        ("apps --compat strict", "--compat: 'strict' is none of apps"),
        ("apps --generator reference --split train --beams 5", "--beams has no meaning for --generator reference"),
        ("apps --split train --beams 5 --temperature 1", "--temperature has no meaning for --beams"),
        ("apps", "has no split 'test'; it has: train, all"),
        ("contests --set mbpp", "--set: 'mbpp' is none of livecodebench, leetcode, codecontests, codecontests-full"),
        ("mathqa --shots 6", "--shots: 6 is not from 0 to 5"),
        ("mathqa --generator reference --shots 2", "--shots has no meaning for --generator reference"),
        ("prediction --set humaneval", "--set: 'humaneval' is none of cruxeval, mbpp"),
        ("prediction --tests-in-prompt 1", "--tests-in-prompt goes with --set mbpp"),
        ("overfit --set apps", "--set: 'apps' is none of mbpp, humaneval, leetcode, humanevalplus, mbppplus"),
        ("overfit --set mbppplus", "EvalPlus's calls are judged here, not by a server"),
        ("selection", "selection is over recorded samples"),
        ("selection --generator reference", "either let a model write some (--generate-tests 10), or name a file"),
        ("selection --generator reference --tests absent.jsonl", "--tests: absent.jsonl cannot be read"),
        ("sizes --models small,large", "--models: how large is 'small'? Say it: small=1.5B"),
        ("sizes --models a-1b,b-1b", "names no two models of different sizes"),
        ("ways --ways independent,random", "names not only different ones of independent, distinct, beam"),
        ("report absent.json", "absent.json is not the result of an experiment"),
    ],
)
def test_what_is_refused(here: Path, words: str, told: str) -> None:
    result = run(*words.split())
    assert result.exit_code == 2, result.output
    assert told in " ".join(result.output.split())
    assert list(here.iterdir()) == []


def test_data_that_are_nowhere_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THRESHER_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("importlib.metadata.files", lambda name: None)
    result = run("humaneval", "--generator", "reference")
    assert result.exit_code == 2 and "humaneval is not here" in result.output and "HumanEval.jsonl" in result.output


def test_a_server_that_does_not_answer_is_a_failure(here: Path) -> None:
    result = run("humaneval", "--generator", "reference", "--server", "unix:nowhere.sock", "--problems", "1")
    assert result.exit_code == 3, result.output
    assert list((here / "thresher-bench").iterdir()) == []


def test_a_prompt_is_printed_byte_for_byte(here: Path) -> None:
    shown = run("mbpp", "--print-prompt", "12", "--shots", "3").stdout_bytes.decode()
    assert shown.count("[BEGIN]\n") == 4 and shown.count("\n[DONE]\n\n") == 3 and shown.endswith("[BEGIN]\n")
    assert "\r\n" in shown  # the published line ends
    stub = run("humaneval", "--print-prompt", "HumanEval/2").stdout_bytes.decode()
    assert stub.startswith("\n\ndef truncate_number(number: float) -> float:\n")
    chat = run("mbpp", "--prompt", "chat", "--tests-in-prompt", "1", "--print-prompt", "12").stdout_bytes.decode()
    assert chat.count("assert ") == 1
    assert list(here.iterdir()) == []


def test_numbers() -> None:
    assert numbers("1,10, 100", "--k") == [1, 10, 100]
    with pytest.raises(CannotRun, match="--k"):
        numbers("", "--k")


def test_the_commands_load_nothing_heavy_before_they_are_used() -> None:
    heavy = "{'numpy', 'torch', 'jinja2', 'grpc', 'rich.live'} & set(sys.modules)"
    code = f"import sys, benchmarks.command; print({heavy} or 'nothing')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout == "nothing\n"
