"""Whatever is sent: never INTERNAL, never a hang, never a leak. By the grammar of the protocol, and against it."""

from collections.abc import Generator

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from thresher.v1 import execution_service_pb2, info_service_pb2, synthesis_service_pb2

from tests.support.any_message import at_extremes, changed, damaged, messages, not_utf8, numbers_of, places
from tests.support.good_requests import good_requests
from tests.support.hard_pressed import MAY_BE, Pressed, hard_pressed

pytestmark = pytest.mark.timeout(900)

GOOD = good_requests()
METHODS = list(GOOD)
REFINE, TRANSCRIPT = (f"/thresher.v1.SynthesisService/{name}" for name in ("Refine", "GetTranscript"))
COSTLY = [method for method in METHODS if "Info" not in method]
PLAIN = settings(suppress_health_check=list(HealthCheck), max_examples=60)
MANY = settings(suppress_health_check=list(HealthCheck), max_examples=2500)


@pytest.fixture(scope="module")
def pressed() -> Generator[Pressed]:
    with hard_pressed() as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_is_left(pressed: Pressed) -> Generator[None]:
    """Also no task and no descriptor, after the first call has made the connection."""
    for method, good in GOOD.items():
        assert pressed.send(method, good.SerializeToString()) is grpc.StatusCode.OK, method
    tasks, descriptors = pressed.size()
    yield
    pressed.check_nothing_left()
    pressed.check_size(tasks + 2, descriptors + 4)


def any_request(method: str) -> st.SearchStrategy[bytes]:
    good = GOOD[method]
    return (
        messages(good.DESCRIPTOR).map(lambda message: message.SerializeToString())
        | changed(good).map(lambda message: message.SerializeToString())
        | changed(good).map(lambda message: message.SerializeToString())
        | damaged(good)
    )


def check(pressed: Pressed, method: str, *requests: bytes) -> None:
    code = pressed.send(method, *requests)
    assert code in MAY_BE, f"{method}: {code}"


@pytest.mark.parametrize("method", METHODS)
@given(st.data())
@PLAIN
def test_any_message(pressed: Pressed, method: str, data: st.DataObject) -> None:
    check(pressed, method, data.draw(any_request(method)))


@given(st.data())
@PLAIN
def test_any_stream_of_messages(pressed: Pressed, data: st.DataObject) -> None:
    method = "/thresher.v1.ExecutionService/ExecuteMany"
    check(pressed, method, *data.draw(st.lists(any_request(method), max_size=5)))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("method", COSTLY)
@given(st.data())
@MANY
def test_any_message_for_long(pressed: Pressed, method: str, data: st.DataObject) -> None:
    check(pressed, method, data.draw(any_request(method)))


@pytest.mark.parametrize("method", METHODS)
def test_every_number_at_its_extremes(pressed: Pressed, method: str) -> None:
    for name, message in at_extremes(GOOD[method]):
        code = pressed.send(method, message.SerializeToString())
        assert code in MAY_BE, f"{name}: {code}"


def test_the_extremes_reach_every_number_of_every_request() -> None:
    """Whoever adds a number to the protocol adds it to the good requests."""
    reached = {field.full_name for good in GOOD.values() for _, field in places(good)}
    assert set[str]().union(*(numbers_of(good.DESCRIPTOR) for good in GOOD.values())) <= reached


def test_every_method_is_sent_what_nobody_should_send() -> None:
    files = (synthesis_service_pb2, execution_service_pb2, info_service_pb2)
    services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
    methods = {f"/{service.full_name}/{method.name}" for service in services for method in service.methods}
    assert methods == {*METHODS, REFINE, TRANSCRIPT}, "sessions: test_refine_fuzz.py"


@pytest.mark.parametrize("method", METHODS)
def test_texts_that_are_not_utf8_are_refused(pressed: Pressed, method: str) -> None:
    for name, data in not_utf8(GOOD[method]):
        assert pressed.send(method, data) is grpc.StatusCode.INVALID_ARGUMENT, name


@pytest.mark.parametrize("size", [1 << 20, 16 << 20])
def test_large_messages_of_nonsense(pressed: Pressed, size: int) -> None:
    for method in METHODS:
        for data in (b"\0" * (size - 64), b"\x12" + b"\xff" * (size - 64), b"\x0a\x05" * (size // 2 - 64)):
            check(pressed, method, data)
