"""The settings of sessions (Refine): how many there may be, how much each may hold, and for how long."""

from typing import Annotated

from pydantic import ByteSize, Field

from engine.config_base import Positive, Section


class SessionSettings(Section):
    """Sessions (Refine). They live in memory, and end with the server."""

    most: Positive = 128
    """Sessions at a time. One more is refused with RESOURCE_EXHAUSTED, unless its caller has one that nobody is
    connected to, which then ends."""
    most_per_caller: Positive = 32
    """Sessions that one caller may have at a time; likewise. All who call by Unix sockets are one caller, and all who
    share a token."""
    max_bytes: Annotated[ByteSize, Field(ge=1 << 16, le=1 << 30)] = ByteSize(8 << 20)
    """What one session may hold, in bytes: half for its request, words and programs, half for messages that its client
    may not have seen."""
    max_turns: Positive = 64
    """Turns of one session."""
    seconds_to_live: Annotated[float, Field(gt=0)] = 900.0
    """Seconds that a session waits to be resumed when nobody is connected to it."""
    linger_seconds: Annotated[float, Field(ge=0)] = 10.0
    """Seconds that a turn goes on when nobody is connected: long enough for a client to come back after a dropped
    connection, short enough that one that is gone for good costs little. So long a session that was ended is kept, too,
    for a client that has not had its last message."""
