"""The pure parts of the race until the first pass: turns, resuming, figures, the careful client, what peers hear."""

import asyncio
from typing import Any

from benchmarks.peers import first_pass, pass_record, pass_table
from benchmarks.peers.pass_record import Entry
from benchmarks.peers.passing import Found, Problem

PROBLEM = Problem("p/1", {"tests": ["f()"]}, "def f():\n", [1, 2, 3], (9,))
OURS = Entry("thresher", 0, "alone", 5)
THEIRS = Entry("server", 8, "alone", 5)
SHORT = Entry("server", 32, "alone", 3)


def line(problem: str, solved: bool, seconds: float, finished: int = 1) -> dict[str, Any]:
    return {"problem": problem, "solved": solved, "seconds": seconds, "finished": finished}


def turn(entry: Entry, first: int, wall: float, *lines: dict[str, Any]) -> dict[str, Any]:
    return {"title": entry.title, "mode": entry.mode, "first": first, "wall_s": wall, "lines": list(lines)}


TAKEN = [
    turn(OURS, 0, 4.0, line("a", True, 1.0, 2), line("b", True, 3.0)),
    turn(THEIRS, 0, 10.0, line("a", True, 4.0), line("b", True, 6.0)),
    turn(SHORT, 0, 20.0, line("a", True, 8.0), line("b", False, 12.0, 32)),
    turn(OURS, 2, 6.0, line("c", True, 5.0), line("d", False, 1.0, 32)),
    turn(THEIRS, 2, 10.0, line("c", False, 9.0, 32), line("d", True, 1.0)),
]


def test_each_segment_goes_through_all_entries_before_the_next() -> None:
    assert pass_record.turns([OURS, THEIRS, SHORT], 2, []) == [
        *((OURS, range(2)), (THEIRS, range(2)), (SHORT, range(2))),
        *((OURS, range(2, 4)), (THEIRS, range(2, 4)), (SHORT, range(2, 3))),
        *((OURS, range(4, 5)), (THEIRS, range(4, 5))),
    ]


def test_turns_that_were_taken_are_not_taken_again() -> None:
    assert pass_record.turns([OURS, THEIRS, SHORT], 2, TAKEN) == [
        (SHORT, range(2, 3)),
        (OURS, range(4, 5)),
        (THEIRS, range(4, 5)),
    ]
    together = Entry("server", 8, "together", 2)
    assert pass_record.turns([together], 2, TAKEN) == [(together, range(2))]


def test_only_segments_that_all_have_been_through_count() -> None:
    assert pass_record.whole([OURS, THEIRS, SHORT], 2, TAKEN) == TAKEN[:3]
    assert pass_record.whole([OURS, THEIRS], 2, TAKEN) == TAKEN
    assert pass_record.whole([OURS, Entry("late", 8, "alone", 5)], 2, TAKEN) == []


def test_the_best_trial_takes_the_least_time_for_a_solved_problem() -> None:
    def trial(name: str, mode: str, width: int, solved: int, wall: float) -> dict[str, Any]:
        return {"name": name, "mode": mode, "width": width, "solved": solved, "wall_s": wall}

    trials = [
        trial("one", "alone", 8, 1, 5.0),
        trial("two", "alone", 4, 4, 12.0),
        trial("one", "alone", 2, 0, 0.1),
        trial("one", "together", 2, 4, 1.0),
        trial("other peer", "alone", 2, 4, 1.0),
    ]
    assert pass_record.best(trials, ["one", "two"], "alone") == trials[1]
    assert pass_record.best(trials, ["three"], "alone") is None


def test_the_race_has_the_best_of_each_peer_and_all_samples_at_once() -> None:
    def trial(name: str, mode: str, width: int, wall: float) -> dict[str, Any]:
        return {"name": name, "mode": mode, "width": width, "solved": 1, "wall_s": wall}

    trials = [
        *(trial("Q4_0", "alone", 4, 1.0), trial("Q4_0", "alone", 32, 9.0), trial("BF16", "alone", 32, 8.0)),
        *(trial("BF16", "together", 8, 1.0), trial("Q4_0", "together", 8, 2.0), trial("bf16", "alone", 8, 1.0)),
    ]
    entries = first_pass.entries_of({"trials": trials}, {"llama.cpp": ["Q4_0", "BF16"], "vllm": ["bf16", "w8a8"]}, 60)
    assert entries == [
        *(Entry("thresher", 0, "alone", 60), Entry("thresher", 0, "together", 60)),
        *(Entry("Q4_0", 4, "alone", 60), Entry("BF16", 32, "alone", 20), Entry("BF16", 8, "together", 60)),
        Entry("bf16", 8, "alone", 60),
    ]


def test_times_are_compared_over_what_all_solved_who_were_asked() -> None:
    ours, theirs, short = pass_record.summaries(TAKEN)
    assert ours == {
        "title": "thresher",
        "mode": "alone",
        "problems": 4,
        "solved": 3,
        "wall_s": 10.0,
        "solved_per_second": 0.3,
        "commonly_solved": 2,
        "first_pass_median_s": 2.0,
        "first_pass_p90_s": 2.8,
        "samples_finished": 36,
    }
    assert (theirs["solved"], theirs["wall_s"], theirs["first_pass_median_s"]) == (3, 20.0, 5.0)
    assert (short["title"], short["problems"], short["commonly_solved"]) == ("server, 32 at once", 2, 1)
    assert short["first_pass_median_s"] == 8.0


def test_ours_against_each() -> None:
    theirs, short = pass_record.against(TAKEN, "thresher")
    assert theirs == {
        "title": "server, 8 at once",
        "mode": "alone",
        "both_solved": 2,
        "median_ours_s": 2.0,
        "median_theirs_s": 5.0,
        "times_sooner": 2.5,
        "times_solved_per_second": 2.0,
    }
    # It was not asked all that we were: what it solved a second says nothing beside ours.
    assert (short["times_sooner"], "times_solved_per_second" in short) == (8.0, False)


def test_the_table_of_problems_tells_failures_from_what_was_not_asked() -> None:
    table = pass_record.by_problem(TAKEN)
    assert table["alone"]["b"] == {"thresher": 3.0, "server, 8 at once": 6.0, "server, 32 at once": None}
    assert table["alone"]["d"] == {"thresher": None, "server, 8 at once": 1.0}
    assert table["together"] == {}


def test_a_turn_takes_several_problems_at_a_time_if_it_is_to() -> None:
    running: list[int] = [0, 0]
    solved: list[str] = []

    class Slow:
        name = "slow"

        def __init__(self) -> None:
            self.settings: dict[str, Any] = {}

        def start(self) -> None:
            solved.append("start")

        async def solve(self, problem: Problem, width: int) -> Found:
            running[0] += 1
            running[1] = max(running)
            await asyncio.sleep(0.01)
            running[0] -= 1
            solved.append(problem.name)
            return Found(True, 0.01, width)

        def pause(self) -> None:
            solved.append("pause")

        def resume(self) -> None:
            solved.append("resume")

        def stop(self) -> None:
            solved.append("stop")

    problems = [Problem(str(number), {}, "", [], ()) for number in range(5)]

    async def take(mode: pass_record.Mode) -> dict[str, Any]:
        with first_pass.ExitStack() as held:
            stand = first_pass.Stand(held, 3, first_pass.Slices(held, None))
            stand.add(Slow(), *pass_record.MODES)
            await stand.turn(Entry("slow", 4, mode, 5), problems[:1], PROBLEM)
            return await stand.turn(Entry("slow", 4, mode, 5), problems, PROBLEM)

    found = asyncio.run(take("alone"))
    assert running[1] == 1
    assert solved == ["start", "resume", "p/1", "0", "pause", "resume", "p/1", *"01234", "pause", "stop"]
    assert found["title"] == "slow, 4 at once"
    assert found["lines"][0] == {"problem": "0", "solved": True, "seconds": 0.01, "finished": 4}
    asyncio.run(take("together"))
    assert running[1] == 3


def test_the_page_says_who_won_and_who_lost() -> None:
    taken = [*TAKEN, turn(Entry("thresher", 0, "together", 5), 0, 2.0, line("a", True, 1.0), line("b", True, 1.0))]
    taken.append(turn(Entry("server", 8, "together", 5), 0, 5.0, line("a", True, 1.0), line("b", False, 1.0)))
    taken.append(turn(Entry("slower", 8, "together", 5), 0, 20.0, line("a", True, 1.0), line("b", False, 1.0)))
    made_by = {"machine": {"cores": 2, "cpu": "a processor", "kernel": "6.18"}, "date": "2026-11-26T00:00:00"}
    result = {
        "protocol": {"problems together": 4, "samples": 32},
        "peers": {"llama.cpp": {"package": "llama==1"}},
        "missing": {"vllm": "no wheel"},
        "failed": {},
        "skipped": ["vllm w8a8"],
        "turns": [{**one, "commit": "0123456789"} for one in taken],
        "summary": pass_record.summaries(taken),
        "against": pass_record.against(taken, "thresher"),
        "provenance": made_by,
    }
    text = pass_table.table(result)
    assert "| thresher | 3 of 4 | 2 / 2.8 s (2) | 10 s | 0.3 | " in text
    assert "| 20 s | 0.15 | 2.50x sooner (2), 2.00x solved a second |" in text
    assert (
        "| the best peer, several problems at a time | 5.00x solved a second (server, 8 at once) | >= 3x: met |" in text
    )
    assert (
        "| the best peer, one after the other | 2.00x solved a second (server, 8 at once) | >= 3x: **missed**" in text
    )
    assert ">= 6x: met" in text
    assert "- vllm is missing: no wheel" in text
    assert "- vllm w8a8 was left out" in text
