"""Whatever a session is told: never INTERNAL, never a hang, never a leak."""

from collections.abc import Generator

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from thresher.v1 import refine_pb2, solve_pb2, synthesis_service_pb2

from tests.support.any_message import damaged, messages
from tests.support.hard_pressed import MAY_BE, Pressed, hard_pressed
from tests.support.refine_talk import start

METHOD = "/thresher.v1.SynthesisService/Refine"
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
