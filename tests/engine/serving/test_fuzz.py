"""Whatever is sent: never INTERNAL, never a hang, never a leak. By the grammar of the protocol, and against it."""

from collections.abc import Generator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.any_message import changed, damaged, extremes, messages, places
from tests.support.good_requests import good_requests
from tests.support.hard_pressed import MAY_BE, Pressed, hard_pressed

GOOD = good_requests()
METHODS = list(GOOD)
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
    after = pressed.size()
    assert after[0] <= tasks + 2
    assert after[1] <= descriptors + 4


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


def spots(good: Message) -> list[tuple[int, str]]:
    """The numbers of a good message: the place of each in `places`, and its name for the test's."""
    return [(n, field.full_name) for n, (_, field) in enumerate(places(good)) if extremes(field)]


@pytest.mark.parametrize("method", METHODS)
def test_every_number_at_its_extremes(pressed: Pressed, method: str) -> None:
    good = GOOD[method]
    for place, name in spots(good):
        for value in extremes(list(places(good))[place][1]):
            message = type(good)()
            message.CopyFrom(good)
            within, field = list(places(message))[place]
            if field.is_repeated:
                within.ClearField(field.name)
                getattr(within, field.name).append(value)
            else:
                setattr(within, field.name, value)
            code = pressed.send(method, message.SerializeToString())
            assert code in MAY_BE, f"{name} = {value}: {code}"


def test_the_extremes_reach_every_number_of_every_request() -> None:
    """Whoever adds a number to the protocol adds it to the good requests."""
    reached = {field.full_name for good in GOOD.values() for _, field in places(good)}
    seen: set[str] = set()
    missing: set[str] = set()

    def walk(kind: Any) -> None:
        if kind.full_name in seen:
            return
        seen.add(kind.full_name)
        for field in kind.fields:
            if extremes(field) and field.full_name not in reached:
                missing.add(field.full_name)
            if field.message_type is not None:
                walk(field.message_type)

    for good in GOOD.values():
        walk(good.DESCRIPTOR)
    assert missing == set()


@pytest.mark.parametrize("method", METHODS)
def test_texts_that_are_not_utf8_are_refused(pressed: Pressed, method: str) -> None:
    good = GOOD[method]
    texts = [(n, field) for n, (_, field) in enumerate(places(good)) if field.type == field.TYPE_STRING]
    for place, field in texts:
        message = type(good)()
        message.CopyFrom(good)
        within, _ = list(places(message))[place]
        mark = "spoilt-text"
        if field.is_repeated:
            getattr(within, field.name).append(mark)
        else:
            setattr(within, field.name, mark)
        data = message.SerializeToString().replace(mark.encode(), b"spoilt-\xff\xfe\xfd\xfc")
        assert pressed.send(method, data) is grpc.StatusCode.INVALID_ARGUMENT, field.full_name


@pytest.mark.parametrize("size", [1 << 20, 16 << 20])
def test_large_messages_of_nonsense(pressed: Pressed, size: int) -> None:
    for method in METHODS:
        for data in (b"\0" * (size - 64), b"\x12" + b"\xff" * (size - 64), b"\x0a\x05" * (size // 2 - 64)):
            check(pressed, method, data)
