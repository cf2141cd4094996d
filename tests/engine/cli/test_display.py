"""What is shown while a solve runs."""

import io

import pytest
from rich.console import Console
from support.fake_server import solved_events, unsolved_events
from thresher.v1 import solve_pb2

from engine.cli._live import SolveDisplay
from engine.cli._report import cost_table, winner
from engine.cli._view import SolveView, first_line, sample_words


def test_view_follows_the_events() -> None:
    view = SolveView()
    lines = [view.apply(event) for event in solved_events()]
    assert lines[0] == "accepted: fake, 40 prompt tokens, seed 7"
    assert lines[2] == ""  # a delta
    assert view.branches_started == 2
    assert view.branches == {}
    assert view.branches_ended == {"finished": 1, "cut_off": 1}
    assert view.candidates[0].samples == [0, 3]
    assert (view.candidates[0].verdict, view.candidates[0].message) == ("wrong answer", "got -1, expected 3")
    assert (view.candidates[1].verdict, view.candidates[1].tests_passed) == ("passed", 1)
    assert view.summary is not None


def test_fork_takes_its_samples_along_and_tells_its_text_from_the_root() -> None:
    view = SolveView()
    for event in solved_events()[:4]:
        view.apply(event)
    assert view.branches[0].samples == [0, 3]
    assert (view.branches[0].tokens, view.branches[0].tail) == (6, "def add(a, b):\n")
    assert view.branches[1].samples == [1, 2]
    assert (view.branches[1].tokens, view.branches[1].tail) == (6, "")
    for text, tokens in (("def add(a, b):\n    ret", 9), ("urn", 10)):
        view.apply(solve_pb2.SolveEvent(branch_delta=solve_pb2.BranchDelta(branch=1, text=text, tokens=tokens)))
    assert (view.branches[1].tokens, view.branches[1].tail) == (10, "def add(a, b):\n    return")


def test_event_of_a_newer_server_is_shown_and_not_fatal() -> None:
    assert "older than the server" in SolveView().apply(solve_pb2.SolveEvent(sequence=1))


def test_program_that_did_not_parse_shows_the_report_s_detail() -> None:
    candidate = solve_pb2.Candidate(index=0)
    candidate.report.detail = "\n  SyntaxError: invalid syntax"
    event = solve_pb2.SolveEvent(candidate_judged=solve_pb2.CandidateJudged(candidate=candidate))
    assert SolveView().apply(event).endswith("SyntaxError: invalid syntax")


def test_a_prior_attempt_is_no_sample() -> None:
    finished = solve_pb2.CandidateFinished(index=0)
    line = SolveView().apply(solve_pb2.SolveEvent(candidate_finished=finished))
    assert line == "candidate 0: a program that was there before"


@pytest.mark.parametrize(
    ("samples", "words"), [([3], "sample 3"), ([2, 0, 1], "samples 0-2"), ([5, 1, 2, 9], "samples 1-2 5 9")]
)
def test_sample_words(samples: list[int], words: str) -> None:
    assert sample_words(samples) == words


def test_first_line() -> None:
    assert first_line("\n \n  a\nb") == "a"
    assert first_line("x" * 300, 10) == "x" * 9 + "…"
    assert first_line("") == ""


def test_pipe_gets_plain_lines() -> None:
    out = io.StringIO()
    with SolveDisplay(Console(file=out, width=40)) as display:
        for event in solved_events():
            display.handle(event)
    lines = out.getvalue().splitlines()
    assert len(lines) == len(solved_events()) - 1
    assert "\x1b" not in out.getvalue()
    assert all(line.startswith("[") for line in lines)  # long lines are not wrapped


def test_terminal_gets_a_table() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, height=40)
    with SolveDisplay(console) as display:
        for event in solved_events():
            display.handle(event)
    text = out.getvalue()
    assert "wrong answer" in text
    assert "got -1, expected 3" in text
    assert "2 candidates, 2 judged" in text


@pytest.mark.parametrize("after", range(len(solved_events()) + 1))
def test_every_state_can_be_drawn(after: int) -> None:
    out = io.StringIO()
    display = SolveDisplay(Console(file=out, force_terminal=True, width=60, height=10))
    for event in solved_events()[:after]:
        display.handle(event)
    Console(file=out, width=60).print(display._render())
    assert out.getvalue()


def test_cost_of_a_solve_in_which_nothing_passed() -> None:
    summary = unsolved_events()[-1].summary
    assert winner(summary) is None
    out = io.StringIO()
    Console(file=out, width=100).print(cost_table(summary))
    assert "none passed" in out.getvalue()


def test_cost_says_what_was_given_up_and_guessed_only_where_there_was_any() -> None:
    summary = unsolved_events()[-1].summary
    out = io.StringIO()
    Console(file=out, width=120).print(cost_table(summary))
    assert "given up" not in out.getvalue() and "guessed" not in out.getvalue()
    summary.accounting.MergeFrom(solve_pb2.Accounting(samples_pruned=3, drafted_tokens=40, accepted_draft_tokens=10))
    Console(file=out, width=120).print(cost_table(summary))
    assert "3 given up" in out.getvalue()
    assert "40, 10 right (25 %)" in out.getvalue()


def test_tiers_of_a_cascade_are_told() -> None:
    started = solve_pb2.TierStarted(tier=1, name="big", model="m", reason="TIER_REASON_GAVE_UP")
    display = SolveDisplay(Console(file=io.StringIO(), width=200))
    for event in solved_events()[:2]:
        display.handle(event)
    assert display.view.apply(solve_pb2.SolveEvent(tier_started=started)) == "tier big: asked (gave_up)"
    assert "fake, tier big" in str(display._headline(display.view))
    summary = unsolved_events()[-1].summary
    drawn = solve_pb2.Accounting(samples_finished=4, generated_tokens=90)
    summary.tiers.add(name="small", outcome="TIER_OUTCOME_CUT_OFF", accounting=drawn, price=0.25)
    summary.tiers.add(name="big", outcome="TIER_OUTCOME_LOST", accounting=drawn, partial=True, detail="it fell silent")
    out = io.StringIO()
    Console(file=out, width=120).print(cost_table(summary))
    assert "cut off, 4 samples complete, 90 tokens, price 0.25" in out.getvalue()
    assert "lost, 4 samples complete, 90 tokens at least (it fell silent)" in out.getvalue()


def test_headline_counts_branches_that_were_given_up() -> None:
    display = SolveDisplay(Console(file=io.StringIO(), width=200))
    for event in solved_events()[:2]:
        display.handle(event)
    ended = solve_pb2.BranchEnded(branch=0, outcome="BRANCH_OUTCOME_PRUNED", generated_tokens=9)
    assert display.view.apply(solve_pb2.SolveEvent(branch_ended=ended)) == "branch 0: pruned after 9 tokens"
    assert "0 of 1 branches live, 1 given up" in str(display._headline(display.view))
