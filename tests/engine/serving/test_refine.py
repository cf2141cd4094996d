"""Turns of a session over gRPC: rounds, feedback, tests, programs taken back. The solver is scripted."""

from itertools import pairwise

from thresher.v1 import problem_pb2, refine_pb2, solve_pb2

from engine.solving.errors import Unavailable
from tests.support.refine_talk import (
    RIGHT,
    WRONG,
    failing_until,
    prompt,
    start,
    talking,
)
from tests.support.scripted_solver import ScriptedSolver, accepted, forever
from tests.support.served import serving, until


async def test_a_turn_is_a_whole_solve_between_its_start_and_its_end() -> None:
    async with serving(ScriptedSolver(failing_until(1))) as served, talking(served, start()) as talk:
        ended = await talk.turn()
        assert [response.WhichOneof("reply") for response in talk.heard] == [
            "turn_started",
            *["event"] * 4,
            "turn_ended",
        ]
        assert [response.sequence for response in talk.heard] == [1, 2, 3, 4, 5, 6]
        assert talk.heard[0].turn_started.added[0].content == "Write add(a, b)."
        assert talk.heard[4].event.summary.candidates[0].code == RIGHT
        assert ended.outcome == refine_pb2.TURN_OUTCOME_SOLVED
        assert not ended.another_follows


async def test_feedback_extends_the_prompt_and_quotes_the_program() -> None:
    async with serving(ScriptedSolver(failing_until(2))) as served, talking(served, start()) as talk:
        assert (await talk.turn()).outcome == refine_pb2.TURN_OUTCOME_UNSOLVED
        await talk.say(number=1, feedback=refine_pb2.Feedback(comment="You subtract."))
        await talk.say(number=2, resample=refine_pb2.Resample())
        assert (await talk.turn()).outcome == refine_pb2.TURN_OUTCOME_SOLVED
        first, second = prompt(served, 0), prompt(served, 1)
        assert second[: len(first)] == first
        answer, said = second[len(first) :]
        assert answer == ("assistant", f"```python\n{WRONG.format(1).strip()}\n```")
        assert said[0] == "user"
        for part in ("0 of 1 tests", "add(1, 2) == 3", "got -1, expected 3", "AssertionError", "You subtract."):
            assert part in said[1]


async def test_four_rounds_by_themselves() -> None:
    async with serving(ScriptedSolver(failing_until(4))) as served, talking(served, start(rounds=5)) as talk:
        ends = [await talk.turn() for _ in range(4)]
        assert [end.another_follows for end in ends] == [True, True, True, False]
        assert [end.outcome for end in ends] == [refine_pb2.TURN_OUTCOME_UNSOLVED] * 3 + [
            refine_pb2.TURN_OUTCOME_SOLVED
        ]
        prompts = [prompt(served, turn) for turn in range(4)]
        for before, after in pairwise(prompts):
            assert after[: len(before)] == before
            assert len(after) == len(before) + 2
        starts = [response.turn_started for response in talk.heard if response.HasField("turn_started")]
        assert [(one.turn, one.automatic, one.kept) for one in starts] == [
            (1, False, 0),
            (2, True, 1),
            (3, True, 3),
            (4, True, 5),
        ]
        assert len(served.solver.specs) == 4


async def test_rounds_end_at_their_number() -> None:
    async with serving(ScriptedSolver(failing_until(99))) as served, talking(served, start(rounds=3)) as talk:
        assert [(await talk.turn()).another_follows for _ in range(3)] == [True, True, False]
        await talk.say(number=1, resample=refine_pb2.Resample(rounds=2))
        assert [(await talk.turn()).another_follows for _ in range(2)] == [True, False]
        assert len(prompt(served)) == 9


async def test_a_program_that_passed_is_judged_again_when_there_are_more_tests() -> None:
    async with serving(ScriptedSolver(failing_until(1))) as served, talking(served, start()) as talk:
        await talk.turn()
        more = problem_pb2.Test(snippet=problem_pb2.SnippetTest(code="assert add('a', 'b') == 'ab'"))
        await talk.say(number=1, add_tests=refine_pb2.AddTests(tests=[more]))
        await talk.say(number=2, resample=refine_pb2.Resample())
        await talk.turn()
        spec = served.solver.specs[-1]
        assert len(spec.tests) == 2
        assert [attempt.code for attempt in spec.cascade.attempts] == [RIGHT]
        assert spec.cascade.attempts[0].report is None
        assert "add('a', 'b')" in prompt(served)[-1][1]


async def test_a_program_taken_back_leaves_the_conversation_and_passes_no_more() -> None:
    async with serving(ScriptedSolver(failing_until(3))) as served, talking(served, start(rounds=3)) as talk:
        for _ in range(3):
            await talk.turn()
        taken = refine_pb2.TakeBack(candidate=refine_pb2.CandidateName(turn=2, index=0))
        await talk.say(number=1, take_back=taken)
        await talk.say(number=2, feedback=refine_pb2.Feedback(comment="Shorter."))
        await talk.say(number=3, resample=refine_pb2.Resample())
        await talk.turn()
        asked = prompt(served)
        assert asked[:3] == prompt(served, 1)
        assert asked[3] == ("assistant", f"```python\n{RIGHT.strip()}\n```")
        assert "Shorter." in asked[4][1]
        (attempt,) = served.solver.specs[-1].cascade.attempts
        assert attempt.code == WRONG.format(2)
        assert attempt.report is not None
        assert attempt.report.detail == "the person has taken it back"
        started = next(one.turn_started for one in reversed(talk.heard) if one.HasField("turn_started"))
        assert started.kept == 3


async def test_another_draw_from_the_same_prompt_has_another_seed() -> None:
    async with serving(ScriptedSolver(failing_until(9))) as served:
        first = start(sampling=solve_pb2.SamplingParams(seed=11, k=2))
        async with talking(served, first) as talk:
            await talk.turn()
            await talk.say(number=1, feedback=refine_pb2.Feedback(comment="For later."))
            await talk.say(number=2, resample=refine_pb2.Resample(same_prompt=True))
            await talk.turn()
            assert prompt(served, 1) == prompt(served, 0)
            assert [spec.sampling.seed for spec in served.solver.specs] == [11, 12]
            sampling = solve_pb2.SamplingParams(seed=40, k=3)
            await talk.say(number=3, resample=refine_pb2.Resample(sampling=sampling))
            await talk.turn()
            assert served.solver.specs[-1].sampling.seed == 40
            assert served.solver.specs[-1].sampling.k == 3
            assert "For later." in prompt(served)[-1][1]


async def test_a_turn_can_be_ended_and_another_one_begun() -> None:
    solver = ScriptedSolver(lambda spec: [accepted(spec), forever])
    async with serving(solver) as served, talking(served, start(rounds=4)) as talk:
        await until(lambda: solver.live == 1)
        await talk.say(number=1, end_turn=refine_pb2.EndTurn())
        ended = await talk.turn()
        assert ended.outcome == refine_pb2.TURN_OUTCOME_CUT_OFF
        assert not ended.another_follows
        assert solver.live == 0
        await talk.say(number=2, resample=refine_pb2.Resample())
        await until(lambda: solver.live == 1)
        solver.script = failing_until(1)
        await talk.say(number=3, resample=refine_pb2.Resample())
        assert (await talk.turn()).outcome == refine_pb2.TURN_OUTCOME_CUT_OFF
        assert (await talk.turn()).outcome == refine_pb2.TURN_OUTCOME_SOLVED
        assert solver.live == 0


async def test_a_turn_that_fails_leaves_the_session() -> None:
    solver = ScriptedSolver(lambda spec: [accepted(spec), Unavailable("ENGINE_RESTARTING", "the engine died")])
    async with serving(solver) as served, talking(served, start(rounds=3)) as talk:
        ended = await talk.turn()
        assert ended.outcome == refine_pb2.TURN_OUTCOME_FAILED
        assert (ended.failure.code, ended.failure.reason) == ("UNAVAILABLE", "ENGINE_RESTARTING")
        solver.script = failing_until(1)
        await talk.say(number=1, resample=refine_pb2.Resample())
        assert (await talk.turn()).outcome == refine_pb2.TURN_OUTCOME_SOLVED
