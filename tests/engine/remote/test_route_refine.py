"""A session through a router: it lives there, and each of its turns is a solve of a tier's."""

from tests.support.refine_talk import RIGHT, WRONG, failing_until, task
from tests.support.routed import routed
from tests.support.scripted_solver import ScriptedSolver


async def test_a_session_s_turns_are_solves_elsewhere() -> None:
    solver = ScriptedSolver(failing_until(2))
    async with routed([("small", solver)]) as running:
        await running.up("small")
        async with running.client.refine(task(), rounds=3, timeout=30) as session:
            asked = await (await session.start()).run()
            assert [turn.outcome for turn in asked.turns] == ["unsolved", "solved"]
            assert asked.code == RIGHT
            transcript = await session.end()
    answer = f"```python\n{WRONG.format(1).strip()}\n```"
    assert len(solver.specs) == 2
    assert asked.turns[1].added[0].content == answer
    assert [candidate.code for candidate in transcript.turns[0].candidates] == [WRONG.format(1)]
