"""How a solve goes, from its events."""

import pytest
from support.fake_server import solved_events
from thresher.client.progress import Attempt, Progress, sample_words, tally
from thresher.v1 import solve_pb2


def test_progress_follows_the_events() -> None:
    progress = Progress()
    lines = [progress.apply(event) for event in solved_events()]
    assert lines[0] == "drawing from fake, 40 prompt tokens, seed 7"
    assert lines[1:5] == [""] * 4  # branches
    assert progress.branches == {}
    assert progress.branches_ended == {"finished": 1, "cut_off": 1}
    assert progress.attempts[0].drawn == [0, 3]
    assert (progress.attempts[0].verdict, progress.attempts[0].message) == ("wrong_answer", "got -1, expected 3")
    assert (progress.attempts[1].verdict, progress.attempts[1].passed) == ("passed", 1)
    assert progress.summary is not None


def test_fork_takes_its_samples_along_and_tells_its_text_from_the_root() -> None:
    progress = Progress()
    for event in solved_events()[:4]:
        progress.apply(event)
    assert progress.branches[0].samples == [0, 3]
    assert (progress.branches[0].tokens, progress.branches[0].tail) == (6, "def add(a, b):\n")
    assert progress.branches[1].samples == [1, 2]
    assert (progress.branches[1].tokens, progress.branches[1].tail) == (6, "")
    for text, tokens in (("def add(a, b):\n    ret", 9), ("urn", 10)):
        progress.apply(solve_pb2.SolveEvent(branch_delta=solve_pb2.BranchDelta(branch=1, text=text, tokens=tokens)))
    assert (progress.branches[1].tokens, progress.branches[1].tail) == (10, "def add(a, b):\n    return")


def test_event_of_a_newer_server_is_shown_and_not_fatal() -> None:
    assert "older than the server" in Progress().apply(solve_pb2.SolveEvent(sequence=1))


def test_program_that_did_not_parse_shows_the_report_s_detail() -> None:
    candidate = solve_pb2.Candidate(index=0)
    candidate.report.detail = "\n  SyntaxError: invalid syntax"
    event = solve_pb2.SolveEvent(candidate_judged=solve_pb2.CandidateJudged(candidate=candidate))
    assert Progress().apply(event).endswith("SyntaxError: invalid syntax")


def test_a_prior_attempt_is_no_sample() -> None:
    finished = solve_pb2.CandidateFinished(index=0)
    line = Progress().apply(solve_pb2.SolveEvent(candidate_finished=finished))
    assert line == "program 0: was there before"


@pytest.mark.parametrize(
    ("samples", "words"), [([3], "sample 3"), ([2, 0, 1], "samples 0-2"), ([5, 1, 2, 9], "samples 1-2 5 9")]
)
def test_sample_words(samples: list[int], words: str) -> None:
    assert sample_words(samples) == words


def test_a_tally_counts_samples_programs_and_verdicts() -> None:
    assert tally([]) == "0 samples, 0 programs"
    attempts = [Attempt(0, [0, 3], verdict="passed"), Attempt(1, [1], verdict="wrong_answer"), Attempt(2, [2])]
    assert tally(attempts) == "4 samples, 3 programs, 2 judged: 1 passed, 1 wrong answer"
    assert tally(attempts[:1], 16) == "2 of 16 samples, 1 program, 1 judged: 1 passed"
