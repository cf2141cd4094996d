"""Rounds of repair against plain samples: whom a run asks what, what it counts, and how it goes on after a kill."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.taught_server import CACHED, GENERATED, PROMPT, TOLD, Passes, TaughtServer
from thresher.client import ThresherError
from typer.testing import CliRunner

from benchmarks.command import app
from benchmarks.data import Record
from benchmarks.experiments import resampling
from benchmarks.experiments.errors import CannotRun, RunFailed
from benchmarks.experiments.experiment import Arm, Draw, Plan, Task
from benchmarks.experiments.generators import Generator
from benchmarks.experiments.repair import EXPERIMENT
from benchmarks.experiments.repair_rounds import PriorAttempts, require_chats
from benchmarks.experiments.repair_run import Asked, conduct_repair
from benchmarks.experiments.repair_session import Sessions
from benchmarks.experiments.repair_words import FIRST, REPAIR, RESAMPLING
from benchmarks.report.html import html
from benchmarks.report.markdown import headline, markdown


def tasks(problems: int) -> tuple[Task, ...]:
    records = [
        Record(id=str(number), text=f"Write f{number}.", visible=("assert f(1) == 2",))
        for number in range(1, problems + 1)
    ]
    chat = [{"role": "user", "content": "Write f."}]
    return tuple(Task(record=record, document={"chat": chat, "tests": list(record.visible)}) for record in records)


def plan(problems: int, rounds: int, failing: int) -> Plan:
    draw = Draw(samples=1, sampling={"temperature": 0.8})
    return Plan(
        experiment="repair",
        data=({"set": "own", "title": "Own", "split": "all", "problems": problems, "chosen": "all that are here"},),
        arms=(Arm(name=FIRST, tasks=tasks(problems), draw=draw),),
        settings={
            "failing_wanted": failing,
            "rounds": rounds,
            "feedback": "automatic",
            "way": "prior-attempts",
            "most_calls": 50,
        },
    )


def run(
    out: Path,
    server: TaughtServer,
    *,
    problems: int = 8,
    failing: int = 3,
    rounds: int = 3,
    most: int = 50,
    at_once: int = 1,
    human: bool = False,
    way: type[PriorAttempts] | type[Sessions] = PriorAttempts,
) -> dict[str, Any]:
    asked = Asked(failing=failing, rounds=rounds, human=human, most=most)
    generator = Generator(server=server.address)
    planned = plan(problems, rounds, failing)
    return conduct_repair(EXPERIMENT, planned, asked, generator, way, out, ["test"], at_once=at_once)


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals are not what is tested here, and 10,000 resamples take their time."""
    monkeypatch.setattr(resampling, "RESAMPLES", 1000)


@pytest.fixture
def taught() -> Iterator[Any]:
    opened: list[TaughtServer] = []

    def make(passes: Passes, **more: Any) -> TaughtServer:
        server = TaughtServer(passes, **more)
        server.__enter__()
        server.set_serving(True)
        opened.append(server)
        return server

    yield make
    for server in opened:
        server.__exit__(None, None, None)


def second_round_of_even_ones(problem: str, told: int, number: int) -> bool:
    """1 and 5 pass at once. Even problems are repaired in round 2; plain samples solve 3 with the fourth."""
    if problem in ("1", "5"):
        return True
    return told == 2 if int(problem) % 2 == 0 and told else problem == "3" and number == 4


def test_a_run_finds_the_first_problems_that_fail_and_no_more(tmp_path: Path, taught: Any) -> None:
    server = taught(second_round_of_even_ones)
    result = run(tmp_path / "r.json", server)
    assert result["complete"] and result["scores"]["problems"] == 4 and result["scores"]["failed_at_first"] == 3
    assert [line["id"] for line in result["problems"][FIRST]] == ["1", "2", "3", "4"]
    assert [line["id"] for line in result["problems"][REPAIR]] == ["2", "3", "4"]
    assert {problem for problem, _ in server.asked} == {"1", "2", "3", "4"}
    # Told of one failure more in each round; not told of anything in a plain sample.
    assert [told for problem, told in server.asked if problem == "2"][:3] == [0, 1, 2]
    assert [told for problem, told in server.asked if problem == "3"][:4] == [0, 1, 2, 3]
    for spec in server.specs:
        assert spec.cascade.attempts_in_prompt == bool(spec.cascade.prior_attempts)
        assert all(attempt.HasField("report") for attempt in spec.cascade.prior_attempts)


def test_success_by_round_never_falls_and_ends_with_the_rounds(tmp_path: Path, taught: Any) -> None:
    result = run(tmp_path / "r.json", taught(second_round_of_even_ones))
    by_round = result["scores"]["by_round"]
    assert [line["solved"] for line in by_round] == [0, 0, 2, 2]
    assert [line["of_all"]["value"] for line in by_round] == [1 / 4, 1 / 4, 3 / 4, 3 / 4]
    assert [line["conversations"] for line in by_round] == [0, 3, 3, 1]
    assert by_round[1]["tokens_in_the_mean"] == {"prompt": PROMPT + TOLD, "cached": CACHED, "generated": GENERATED}


def test_each_round_of_more_than_four_is_printed(tmp_path: Path, taught: Any) -> None:
    server = taught(lambda problem, told, number: told == int(problem))
    result = run(tmp_path / "r.json", server, problems=6, failing=6, rounds=5, way=Sessions)
    assert [line["solved"] for line in result["scores"]["by_round"]] == [0, 1, 2, 3, 4, 5]
    printed = headline(EXPERIMENT.page(result)).splitlines()
    for number in range(1, 6):
        [line] = [line for line in printed if f"solved by round {number}" in line]
        assert f"{100 * number / 6:.1f} %" in line


def test_what_took_time_says_how_long(tmp_path: Path, taught: Any) -> None:
    def after_a_while(problem: str, told: int, number: int) -> bool:
        time.sleep(0.005)
        return second_round_of_even_ones(problem, told, number)

    for way in (Sessions, PriorAttempts):
        out = tmp_path / f"{way.name}.json"
        run(out, taught(after_a_while), way=way)
        lines = [json.loads(line) for line in out.with_suffix(".jsonl").read_text().splitlines()]
        seconds = [line["outcome"]["seconds"] for line in lines if "outcome" in line]
        assert len(seconds) == 10 and min(seconds) >= 0.005


def test_both_sides_have_the_same_tokens(tmp_path: Path, taught: Any) -> None:
    result = run(tmp_path / "r.json", taught(second_round_of_even_ones))
    sample = {"computed": PROMPT - CACHED + GENERATED, "all": PROMPT + GENERATED}  # 30 and 60
    for name, found in result["scores"]["by_tokens"].items():
        one, two, three = (sample[name] + told * TOLD for told in (1, 2, 3))
        spent = [one + two, one + two + three, one + two]  # of problems 2, 3 and 4
        each, last = found["each_as_its_conversation"], found["curve"][-1]
        assert found["tokens_of_a_conversation"]["most"] == max(spent)
        assert each["tokens"][REPAIR] == sum(spent)
        # As many whole samples as the conversation of each problem pays for; problem 3 is solved by its fourth.
        assert each["tokens"][RESAMPLING] == (2 * (spent[0] // sample[name]) + 4) * sample[name]
        assert each["solved"] == {REPAIR: 2, RESAMPLING: 1}
        # Shared out evenly it is as much in all.
        assert last["tokens"] == sum(spent) / 3
        assert last[REPAIR]["value"] == 2 / 3 and last[RESAMPLING]["value"] == 1 / 3
        assert last["difference"]["value"] == pytest.approx(1 / 3)
        assert found["samples_did_not_last"] == 0
        for arm in (REPAIR, RESAMPLING):
            values = [point[arm]["value"] for point in found["curve"]]
            assert values == sorted(values)
    # The mean conversation: 310 tokens computed are 11 samples, 400 in all 7. Drawn until both are spent, or a pass.
    drawn = {line["id"]: line["samples"] for line in result["problems"][RESAMPLING]}
    assert drawn == {"2": 11, "3": 4, "4": 11}


def test_how_many_are_worked_on_at_once_changes_no_score(tmp_path: Path, taught: Any) -> None:
    one = run(tmp_path / "one.json", taught(second_round_of_even_ones))
    four = run(tmp_path / "four.json", taught(second_round_of_even_ones), at_once=4)
    assert one["scores"] == four["scores"] and one["problems"] == four["problems"]


@pytest.mark.parametrize("after", [1, 4, 8, 20])
def test_a_run_that_breaks_off_goes_on_and_comes_to_the_same(tmp_path: Path, taught: Any, after: int) -> None:
    whole = run(tmp_path / "whole.json", taught(second_round_of_even_ones))
    out = tmp_path / "r.json"
    with pytest.raises(ThresherError, match="broken"):
        run(out, taught(second_round_of_even_ones, breaks_after=after))
    if out.exists():
        left = json.loads(out.read_text())
        assert not left["complete"] and left["scores"] == {}
        assert "Incomplete" in headline(EXPERIMENT.page(left))
    rest = taught(second_round_of_even_ones)
    result = run(out, rest)
    assert result["scores"] == whole["scores"] and result["problems"] == whole["problems"]
    again = taught(second_round_of_even_ones)
    assert run(out, again)["scores"] == whole["scores"] and again.asked == []


def test_where_no_first_draw_fails_there_is_nothing_to_repair(tmp_path: Path, taught: Any) -> None:
    result = run(tmp_path / "r.json", taught(lambda problem, told, number: True))
    assert result["complete"] and result["scores"]["failed_at_first"] == 0 and "by_round" not in result["scores"]
    assert "There is nothing to repair" in markdown(EXPERIMENT.page(result))


def test_fewer_failures_than_wanted_are_told(tmp_path: Path, taught: Any) -> None:
    result = run(tmp_path / "r.json", taught(second_round_of_even_ones), problems=3)
    assert result["scores"]["failed_at_first"] == 2
    assert "fewer than the 3 that were wanted" in markdown(EXPERIMENT.page(result))


def test_samples_that_did_not_last_are_told(tmp_path: Path, taught: Any) -> None:
    result = run(tmp_path / "r.json", taught(second_round_of_even_ones), most=2)
    assert {line["samples"] for line in result["problems"][RESAMPLING]} == {2}
    assert result["scores"]["by_tokens"]["all"]["samples_did_not_last"] == 3
    assert "there it might have solved more" in markdown(EXPERIMENT.page(result))


def test_the_pages_hold_the_comparison(tmp_path: Path, taught: Any) -> None:
    run(tmp_path / "r.json", taught(second_round_of_even_ones))
    result = json.loads((tmp_path / "r.json").read_text())
    words = markdown(EXPERIMENT.page(result))
    for told in ("At equal tokens", "By rounds", "that favours repair", "that favours plain samples", "+33.3"):
        assert told in words, told
    assert (tmp_path / "r.html").read_text() == html(EXPERIMENT.page(result))
    printed = headline(EXPERIMENT.page(result))
    assert "solved by round 2" in printed and "75.0 %" in printed


def test_the_conversations_are_exported(tmp_path: Path, taught: Any) -> None:
    run(tmp_path / "r.json", taught(second_round_of_even_ones))
    found = json.loads((tmp_path / "r.transcripts.json").read_text())["transcripts"]
    assert [(one["problem"], one["solved_in_round"], len(one["turns"])) for one in found] == [
        ("2", 2, 3),
        ("3", None, 4),
        ("4", 2, 3),
    ]
    first, *_, last = found[0]["turns"]
    assert first["programs"] == [{"code": "# 2 0 0\n", "verdict": "wrong_answer"}]
    assert first["failure"]["test"] == "assert f(1) == 2" and first["failure"]["expected"] == "2"
    assert first["failure"]["got"] == "1" and last["failure"] is None


def test_sessions_come_to_the_same_as_prior_attempts(tmp_path: Path, taught: Any) -> None:
    by_attempts = run(tmp_path / "one.json", taught(second_round_of_even_ones))
    server = taught(second_round_of_even_ones)
    by_sessions = run(tmp_path / "two.json", server, way=Sessions, at_once=2)
    assert by_sessions["scores"] == by_attempts["scores"] and by_sessions["problems"] == by_attempts["problems"]
    # Rounds of a session begin by themselves: nobody says anything.
    assert server.said == [] and server.sessions_ended >= 4


def test_the_human_speaks_to_each_failure(tmp_path: Path, taught: Any) -> None:
    server = taught(second_round_of_even_ones)
    result = run(tmp_path / "r.json", server, way=Sessions, human=True)
    by_round = [line["of_all"]["value"] for line in result["scores"]["by_round"]]
    assert by_round == sorted(by_round) == [1 / 4, 1 / 4, 3 / 4, 3 / 4]
    off = "It is off by one: f(1) must give 2, not 1."
    said = [words for problem, words in server.said if problem == "3"]
    assert said[0] == off and "same mistake again" in said[1] and len(said) == 3
    assert [problem for problem, _ in server.said] == ["2", "2", "3", "3", "3", "4", "4"]
    found = json.loads((tmp_path / "r.transcripts.json").read_text())["transcripts"]
    assert [turn["said"] for turn in found[1]["turns"]] == ["", *said]


@pytest.mark.parametrize("after", [2, 6])
def test_a_run_of_sessions_that_breaks_off_goes_on(tmp_path: Path, taught: Any, after: int) -> None:
    whole = run(tmp_path / "whole.json", taught(second_round_of_even_ones), way=Sessions)
    with pytest.raises(ThresherError, match="broken"):
        run(tmp_path / "r.json", taught(second_round_of_even_ones, breaks_after=after), way=Sessions)
    result = run(tmp_path / "r.json", taught(second_round_of_even_ones), way=Sessions)
    assert result["scores"] == whole["scores"]


def test_a_turn_that_fails_is_no_failure_of_a_program(tmp_path: Path, taught: Any) -> None:
    server = taught(second_round_of_even_ones)
    server.turn_fails = True
    with pytest.raises(RunFailed, match="1: a turn ended as failed: the engine died"):
        run(tmp_path / "r.json", server, way=Sessions)


def test_words_need_another_way(tmp_path: Path, taught: Any) -> None:
    with pytest.raises(CannotRun, match="cannot be said by prior attempts"):
        run(tmp_path / "r.json", taught(second_round_of_even_ones), human=True)


def test_what_is_no_chat_is_refused() -> None:
    record = Record(id="1", text="x", visible=("assert 1",))
    with pytest.raises(CannotRun, match="need a chat"):
        require_chats((Task(record=record, document={"completion": "x", "tests": ["assert 1"]}),))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--generator reference", "repair needs a model"),
        ("--way telepathy", "'telepathy' is none of refine, prior-attempts"),
        ("--human --way prior-attempts", "a prior attempt takes no words"),
        ("--set cruxeval", "is none of humaneval"),
    ],
)
def test_what_the_command_refuses(words: str, told: str) -> None:
    done = CliRunner().invoke(app, ["repair", *words.split()])
    assert done.exit_code == 2 and told in " ".join(done.output.split())
