"""Whatever a session is told: never INTERNAL, never a hang, never a leak."""

from collections.abc import Generator

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from thresher.v1 import refine_pb2, solve_pb2, synthesis_service_pb2

from tests.support.any_message import at_extremes, damaged, messages, not_utf8, numbers_of, places
from tests.support.good_requests import solve_spec
from tests.support.hard_pressed import MAY_BE, Pressed, hard_pressed
from tests.support.refine_talk import start

pytestmark = pytest.mark.timeout(900)

METHOD = "/thresher.v1.SynthesisService/Refine"
TRANSCRIPT = "/thresher.v1.SynthesisService/GetTranscript"
Request = synthesis_service_pb2.RefineRequest
START = start(sampling=solve_pb2.SamplingParams(k=2, max_new_tokens=6)).SerializeToString()
ACTIONS = st.one_of(
    st.builds(lambda text: Request(feedback=refine_pb2.Feedback(comment=text)), st.text(min_size=1, max_size=5)),
    st.builds(lambda index: Request(take_back={"candidate": {"turn": 1, "index": index}}), st.integers(0, 2)),
    st.builds(lambda rounds: Request(resample=refine_pb2.Resample(rounds=rounds)), st.integers(0, 3)),
    st.builds(lambda seen, number: Request(seen=seen, number=number), st.integers(0, 5), st.integers(0, 2)),
    st.just(Request(end_turn=refine_pb2.EndTurn())),
    st.just(Request(end_session=refine_pb2.EndSession())),
    messages(Request.DESCRIPTOR),
).map(lambda message: message.SerializeToString())

SPEC = solve_spec()
NAME = refine_pb2.CandidateName(turn=1, index=1)
GOOD = (
    start(1),
    Request(resume=refine_pb2.ResumeSession(session="sessions/x")),
    Request(feedback=refine_pb2.Feedback(candidate=NAME, comment="no")),
    Request(add_tests=refine_pb2.AddTests(tests=SPEC.problem.tests[:2])),
    Request(take_back=refine_pb2.TakeBack(candidate=NAME)),
    Request(resample=refine_pb2.Resample(sampling=SPEC.sampling, budget=SPEC.budget, rounds=1, same_prompt=True)),
    Request(end_turn=refine_pb2.EndTurn()),
    Request(end_session=refine_pb2.EndSession()),
)
"""One request of each kind."""
END = Request(end_session=refine_pb2.EndSession()).SerializeToString()


@pytest.fixture(scope="module")
def pressed() -> Generator[Pressed]:
    with hard_pressed() as running:
        yield running


@given(st.booleans(), st.lists(ACTIONS | damaged(Request(feedback={"comment": "x"})), max_size=6))
@settings(suppress_health_check=list(HealthCheck), max_examples=30, deadline=None)
def test_any_session(pressed: Pressed, starts: bool, actions: list[bytes]) -> None:
    code = pressed.send(METHOD, *([START] if starts else []), *actions)
    assert code in MAY_BE | {grpc.StatusCode.OUT_OF_RANGE}, code
    pressed.check_nothing_left()


def sent(pressed: Pressed, good: Request, data: bytes) -> grpc.StatusCode:
    """How a session ends that is told this after its beginning, or as its beginning."""
    begins = good.WhichOneof("action") in ("start", "resume")
    return pressed.send(METHOD, *([] if begins else [START]), data, END)


@pytest.mark.parametrize("good", GOOD, ids=lambda good: good.WhichOneof("action"))
def test_every_number_at_its_extremes(pressed: Pressed, good: Request) -> None:
    for name, message in at_extremes(good):
        code = sent(pressed, good, message.SerializeToString())
        assert code in MAY_BE | {grpc.StatusCode.OUT_OF_RANGE}, f"{name}: {code}"
    pressed.check_nothing_left()


def test_the_extremes_reach_every_number_of_a_session_s_own() -> None:
    """Those of a spec are reached by test_fuzz.py."""
    reached = {field.full_name for good in GOOD for _, field in places(good)}
    assert numbers_of(Request.DESCRIPTOR) - numbers_of(solve_pb2.SolveSpec.DESCRIPTOR) <= reached
    assert {action.name for action in Request.DESCRIPTOR.oneofs_by_name["action"].fields} == {
        good.WhichOneof("action") for good in GOOD
    }


@pytest.mark.parametrize("good", GOOD, ids=lambda good: good.WhichOneof("action"))
def test_texts_that_are_not_utf8_are_refused(pressed: Pressed, good: Request) -> None:
    for name, data in not_utf8(good):
        assert sent(pressed, good, data) is grpc.StatusCode.INVALID_ARGUMENT, name
    pressed.check_nothing_left()


@given(st.data())
@settings(suppress_health_check=list(HealthCheck), max_examples=60, deadline=None)
def test_any_transcript(pressed: Pressed, data: st.DataObject) -> None:
    good = synthesis_service_pb2.GetTranscriptRequest(session="sessions/x")
    made = messages(good.DESCRIPTOR).map(lambda message: message.SerializeToString())
    code = pressed.send(TRANSCRIPT, data.draw(made | damaged(good)))
    assert code in MAY_BE - {grpc.StatusCode.OK}, code
