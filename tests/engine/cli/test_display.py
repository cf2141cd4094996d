"""What is shown while a solve runs."""

import io

import pytest
from rich.console import Console
from support.fake_server import solved_events, unsolved_events
from thresher.client.account import winner
from thresher.v1 import solve_pb2

from engine.cli._live import SolveDisplay
from engine.cli._report import first_line, print_cost


def test_first_line() -> None:
    assert first_line("\n \n  a\nb") == "a"
    assert first_line("x" * 300, 10) == "x" * 9 + "…"
    assert first_line("") == ""


def test_pipe_gets_plain_lines() -> None:
    out = io.StringIO()
    with SolveDisplay(Console(file=out, width=40)) as display:
        for event in solved_events():
            display.handle(event)
    assert "\x1b" not in out.getvalue()
    lines = out.getvalue().splitlines()
    assert all(line.startswith("[") for line in lines)  # long lines are not wrapped
    assert [line.partition("] ")[2] for line in lines] == [
        "drawing from fake, 40 prompt tokens, seed 7",
        "program 0: drawn by sample 0, 11 tokens (end of text)",
        "program 0: drawn again by sample 3",
        "program 0: wrong answer, 0 of 1 tests: got -1, expected 3",
        "program 1: drawn by sample 1, 12 tokens (end of program)",
        "program 1: passed, 1 of 1 tests",
        "ended: solved",
    ]


def test_terminal_gets_a_table() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, height=40)
    with SolveDisplay(console) as display:
        for event in solved_events():
            display.handle(event)
    text = out.getvalue()
    assert "wrong answer" in text
    assert "got -1, expected 3" in text
    assert "3 samples, 2 programs, 2 judged: 1 wrong answer, 1 passed" in text


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
    print_cost(Console(file=out, width=100), summary)
    assert "none passed" in out.getvalue()


def test_cost_is_a_table_on_a_terminal_and_plain_lines_in_a_pipe() -> None:
    summary = unsolved_events()[-1].summary
    summary.tiers.add(name="small", detail=f"it said [bold] {'x' * 100}")
    plain, shown = io.StringIO(), io.StringIO()
    print_cost(Console(file=plain, width=40), summary)
    print_cost(Console(file=shown, width=200, force_terminal=True), summary)
    assert len(plain.getvalue().splitlines()) == len(shown.getvalue().splitlines()), "lines are not wrapped"
    for text in (plain.getvalue(), shown.getvalue()):
        assert "time to first pass  none passed" in text
        assert f"it said [bold] {'x' * 100}" in text
    assert "\x1b" not in plain.getvalue()


def test_cost_says_what_was_given_up_and_guessed_only_where_there_was_any() -> None:
    summary = unsolved_events()[-1].summary
    out = io.StringIO()
    print_cost(Console(file=out, width=120), summary)
    assert "given up" not in out.getvalue() and "guessed" not in out.getvalue()
    summary.accounting.MergeFrom(solve_pb2.Accounting(samples_pruned=3, drafted_tokens=40, accepted_draft_tokens=10))
    print_cost(Console(file=out, width=120), summary)
    assert "3 given up" in out.getvalue()
    assert "40, 10 right (25 %)" in out.getvalue()


def test_cost_says_how_many_draws_a_pass_takes_where_that_is_known() -> None:
    summary = unsolved_events()[-1].summary
    out = io.StringIO()
    print_cost(Console(file=out, width=120), summary)
    assert "draws until a pass" not in out.getvalue()
    summary.expected_draws = 40.5
    print_cost(Console(file=out, width=120), summary)
    assert "40.5 expected" in out.getvalue()


def test_tiers_of_a_cascade_are_told() -> None:
    started = solve_pb2.TierStarted(tier=1, name="big", model="m", reason="TIER_REASON_GAVE_UP")
    display = SolveDisplay(Console(file=io.StringIO(), width=200))
    for event in solved_events()[:2]:
        display.handle(event)
    assert display.progress.apply(solve_pb2.SolveEvent(tier_started=started)) == "asking big (gave up)"
    assert "fake, tier big" in display.progress.headline
    summary = unsolved_events()[-1].summary
    drawn = solve_pb2.Accounting(samples_finished=4, generated_tokens=90)
    summary.tiers.add(name="small", outcome="TIER_OUTCOME_CUT_OFF", accounting=drawn, price=0.25)
    summary.tiers.add(name="big", outcome="TIER_OUTCOME_LOST", accounting=drawn, partial=True, detail="it fell silent")
    out = io.StringIO()
    print_cost(Console(file=out, width=120), summary)
    assert "cut off, 4 samples complete, 90 tokens, price 0.25" in out.getvalue()
    assert "lost, 4 samples complete, 90 tokens at least (it fell silent)" in out.getvalue()


def test_headline_counts_branches_that_were_given_up() -> None:
    display = SolveDisplay(Console(file=io.StringIO(), width=200))
    for event in solved_events()[:2]:
        display.handle(event)
    ended = solve_pb2.BranchEnded(branch=0, outcome="BRANCH_OUTCOME_PRUNED", generated_tokens=9)
    assert display.progress.apply(solve_pb2.SolveEvent(branch_ended=ended)) == ""
    assert "0 of 1 branches live, 1 given up" in display.progress.headline
