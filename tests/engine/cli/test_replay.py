"""`thresher solve --record` and `thresher replay`: what is recorded, what the page knows, that a browser draws it."""

import json
import re
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from thresher.client import solve_spec
from thresher.v1 import solve_pb2, verdict_pb2
from typer.testing import CliRunner

from engine.cli._recording import BadRecording, Recorded, Recorder, read_recording
from engine.cli._replay import page_of, picture_of
from engine.cli.main import app
from tests.support.browser import find_chromium, ink, screenshot
from tests.support.load_server import load_server

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SPEC = solve_spec({"problem_id": "p/1", "prompt": "Add.", "tests": ["assert f(1) == 2"], "sampling": {"k": 4}})


def event(seconds: float, **body: Any) -> solve_pb2.SolveEvent:
    made = solve_pb2.SolveEvent(**body)
    made.elapsed.FromMilliseconds(round(seconds * 1000))
    return made


def judged(index: int, verdict: int, code: str = "") -> solve_pb2.CandidateJudged:
    report = verdict_pb2.ExecutionReport(verdict=verdict, tests_total=1)  # type: ignore[arg-type]
    if verdict != verdict_pb2.VERDICT_PASSED:
        report.results.add(verdict=verdict, message="got 3")  # type: ignore[arg-type]
    return solve_pb2.CandidateJudged(candidate=solve_pb2.Candidate(index=index, code=code, report=report))


EVENTS = [
    event(0.0, accepted=solve_pb2.Accepted(model="models/m", prompt_tokens=9, seed=3)),
    event(0.1, branch_started=solve_pb2.BranchStarted(branch=0, samples=[0, 1, 2])),
    event(0.2, branch_delta=solve_pb2.BranchDelta(branch=0, text="def f(", tokens=3)),
    event(0.3, branch_started=solve_pb2.BranchStarted(branch=1, parent=0, position=2, samples=[3])),
    event(0.4, branch_ended=solve_pb2.BranchEnded(branch=0, outcome="BRANCH_OUTCOME_FINISHED", candidate=0)),
    event(0.4, candidate_finished=solve_pb2.CandidateFinished(index=0, branch=0, samples=[0, 1])),
    event(0.5, samples_joined=solve_pb2.SamplesJoined(index=0, samples=[2])),
    event(0.6, candidate_judged=judged(0, verdict_pb2.VERDICT_WRONG_ANSWER, "x = '</script>'")),
    event(0.7, candidate_finished=solve_pb2.CandidateFinished(index=1, branch=1, samples=[3])),
    event(0.7, branch_ended=solve_pb2.BranchEnded(branch=1, outcome="BRANCH_OUTCOME_FINISHED", candidate=1)),
    event(0.9, candidate_judged=judged(1, verdict_pb2.VERDICT_PASSED, "def f(x): return x + 1")),
    event(1.0, summary=solve_pb2.Summary(outcome="SOLVE_OUTCOME_SOLVED")),
]


RECORDED = Recorded(problem={"id": "p/1", "tests": 1, "k": 4}, events=EVENTS, decisions=[], left_out=0)


def recorded(path: Path, most_bytes: int = 1 << 20) -> Path:
    with Recorder(path, SPEC, most_bytes) as recorder:
        for one in EVENTS:
            recorder.handle(one)
    return path


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = recorded(tmp_path / "r.jsonl")
    assert read_recording(path) == RECORDED
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_recording_is_bounded_and_says_what_it_lacks(tmp_path: Path) -> None:
    found = read_recording(recorded(tmp_path / "r.jsonl", 500))
    assert 0 < found.left_out < len(EVENTS)
    assert len(found.events) + found.left_out == len(EVENTS)
    assert found.events[-1].HasField("summary")


def test_a_program_may_hold_what_other_readers_take_for_the_end_of_a_line(tmp_path: Path) -> None:
    odd = event(0.9, candidate_judged=judged(0, verdict_pb2.VERDICT_PASSED, "x = 'a\u2028b\u0085c\u2029d'"))
    with Recorder(tmp_path / "r.jsonl", SPEC) as recorder:
        recorder.handle(odd)
    assert read_recording(tmp_path / "r.jsonl").events == [odd]


def test_the_picture_has_forks_verdicts_and_the_first_pass() -> None:
    found = picture_of(RECORDED)
    assert (found.model, found.prompt_tokens, found.outcome, found.end) == ("m", 9, "solved", 1.0)
    root, fork = found.branches
    assert (root.parent, root.start, root.end, root.outcome, root.candidate) == (None, 0.1, 0.4, "finished", 0)
    assert (fork.parent, fork.position, fork.samples) == (0, 2, [3])
    wrong, right = found.candidates
    assert (wrong.samples, wrong.verdict, wrong.judged, wrong.message) == ([0, 1, 2], "wrong_answer", 0.6, "got 3")
    assert (right.verdict, found.first_pass) == ("passed", 0.9)


def test_a_program_cannot_end_the_script_that_holds_it() -> None:
    page = page_of(picture_of(replace(RECORDED, problem={"id": "<b>"})))
    assert page.count("</script>") == 1
    assert not re.search(r"(src|href)=", page), "nothing is fetched"


def test_a_seed_is_told_to_its_last_digit() -> None:
    """A browser's numbers are exact up to 2^53, a seed goes up to 2^64."""
    accepted = event(0.0, accepted=solve_pb2.Accepted(model="models/m", seed=2**64 - 1))
    assert f'"seed": "{2**64 - 1}"' in page_of(picture_of(replace(RECORDED, events=[accepted])))


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no recording"), ("hello", "no recording"), ('{"a": 1}\n', "no recording"), ("[1]\n", "no recording")],
)
def test_what_is_no_recording_is_told(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "r"
    path.write_text(text)
    with pytest.raises(BadRecording, match=said):
        read_recording(path)
    done = CliRunner().invoke(app, ["replay", str(path)])
    assert done.exit_code == 2 and said in done.output


def test_another_version_and_a_broken_line_are_told(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_text('{"thresher_recording": 9, "problem": {}}\n')
    with pytest.raises(BadRecording, match="version 9"):
        read_recording(path)
    path.write_text('{"thresher_recording": 1, "problem": {}}\n{"elapsed": 5}\n')
    with pytest.raises(BadRecording, match="a line is no event"):
        read_recording(path)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a solve by a server, as the two commands make it."""
    folder = tmp_path_factory.mktemp("replay")
    problem = {"problem_id": "a/b", "completion": "race", "tests": ["visible"], "sampling": {"k": 12, "seed": 4}}
    (folder / "p.json").write_text(json.dumps(problem))
    with load_server() as server:
        words = ["solve", str(folder / "p.json"), "--address", server.address, "--record", str(folder / "r"), "-q"]
        done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    made = CliRunner().invoke(app, ["replay", str(folder / "r"), "--out", str(folder / "page.html")])
    assert made.exit_code == 0, made.output
    return folder / "page.html"


def test_a_real_solve_is_recorded_whole(page: Path) -> None:
    found = picture_of(read_recording(page.with_name("r")))
    assert found.left_out == 0
    assert found.first_pass is not None and found.outcome == "solved"
    assert sum(branch.outcome != "" for branch in found.branches) == len(found.branches) > 1
    assert found.cost["rows_computed"] > 0


@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
def test_a_browser_draws_it(page: Path, tmp_path: Path) -> None:
    words = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--dump-dom"]
    done = subprocess.run([*words, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)  # type: ignore[list-item]
    drawn = done.stdout
    assert re.search(r'<h1 id="title">a/b: solved, first pass after [\d.]+ m?s</h1>', drawn)
    assert drawn.count("<circle") >= 1
    assert drawn.count("<path") >= 2
    assert "first pass: everything else stops" in drawn
    assert "<b>0</b> branches are drawn" in drawn
    assert not re.search(r"<b>1</b> (branches|programs)", drawn)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 420])
def test_the_picture_is_within_its_margins(page: Path, width: int) -> None:
    """The picture stays in pytest's folder, to be looked at."""
    shot = screenshot(find_chromium(), page, width, 1000)
    drawn = ink(shot)
    assert 0.005 < drawn.mean() < 0.6, "neither blank nor a wall"
    assert not drawn[:, -3:].any(), "nothing runs out of the window"
    # Samples, verdicts and what was cut off are told apart by colour: more than one hue is on the page.
    bright = shot[drawn].astype(int)
    coloured = bright[(bright.max(axis=1) - bright.min(axis=1)) > 60]
    hues = {int(hue) for hue in coloured.argmax(axis=1)}
    assert len(hues) >= 2


def test_a_page_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    path = recorded(tmp_path / "r.jsonl")
    done = CliRunner().invoke(app, ["replay", str(path), "--out", str(tmp_path / "none" / "page.html")])
    assert done.exit_code == 3 and "cannot be written" in done.output
    words = ["solve", "--prompt", "p", "--test", "assert f()", "--record", str(tmp_path / "none" / "r")]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2 and "--record" in refused.output
