"""Frames over a socket: messages arrive whole and in order, and bad bytes end in FrameError."""

import asyncio
import socket

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.frames import FrameError, FrameStream, connect, socket_pair


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    number: int
    text: str = ""


class Pong(msgspec.Struct, frozen=True, tag="pong"):
    data: bytes


Message = Ping | Pong


async def ends() -> tuple[FrameStream[Message, Message], FrameStream[Message, Message]]:
    left, right = socket_pair()
    return await connect(left, Message, Message), await connect(right, Message, Message)  # type: ignore[arg-type]


messages = st.builds(Ping, st.integers(-(2**63), 2**63 - 1), st.text()) | st.builds(Pong, st.binary(max_size=5000))


async def exchange(sent: list[Message]) -> None:
    left, right = await ends()
    for message in sent:
        left.post(message)
    closing = asyncio.create_task(left.close())
    received: list[Message] = []
    while (message := await right.receive()) is not None:
        received.append(message)
    await closing
    await right.close()
    assert received == sent


def test_messages_arrive_whole_and_in_order() -> None:
    @settings(max_examples=50, deadline=None)
    @given(st.lists(messages, max_size=20))
    def run(sent: list[Message]) -> None:
        asyncio.run(exchange(sent))

    run()


def test_any_bytes_end_in_frame_error_or_the_end() -> None:
    async def read(data: bytes) -> None:
        left, right = socket_pair()
        stream: FrameStream[Message, Message] = await connect(right, Message, Message, max_bytes=1000)  # type: ignore[arg-type]
        left.sendall(data)
        left.close()
        try:
            while await stream.receive() is not None:
                pass
        except FrameError:
            pass
        finally:
            await stream.close()

    @settings(max_examples=150, deadline=None)
    @given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda b: len(b).to_bytes(4, "big") + b))
    def run(data: bytes) -> None:
        asyncio.run(read(data))

    run()


async def test_large_messages_cross_while_the_other_side_reads() -> None:
    left, right = await ends()
    big = Pong(bytes(5 << 20))
    sending = asyncio.create_task(left.send(big))
    assert await right.receive() == big
    await sending
    await asyncio.gather(left.close(), right.close())


async def test_too_long_is_refused_on_both_sides() -> None:
    left, right = socket_pair()
    small: FrameStream[Message, Message] = await connect(left, Message, Message, max_bytes=100)  # type: ignore[arg-type]
    with pytest.raises(FrameError, match="longer than the limit of 100"):
        small.post(Pong(bytes(200)))
    right.sendall((1 << 31).to_bytes(4, "big"))
    with pytest.raises(FrameError, match="longer than the limit"):
        await small.receive()
    await small.close()
    right.close()


async def test_a_frame_cut_off_is_an_error_and_a_clean_end_is_not() -> None:
    for data, clean in ((b"", True), (b"\x00\x00", False), (b"\x00\x00\x00\x09abc", False)):
        left, right = socket_pair()
        stream: FrameStream[Message, Message] = await connect(right, Message, Message)  # type: ignore[arg-type]
        left.sendall(data)
        left.shutdown(socket.SHUT_WR)
        if clean:
            assert await stream.receive() is None
        else:
            with pytest.raises(FrameError, match="the stream ends"):
                await stream.receive()
        await stream.close()
        left.close()
