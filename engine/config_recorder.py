"""The settings of the flight recorder."""

from pathlib import Path
from typing import Annotated

from pydantic import ByteSize, Field

from engine.config_base import Positive, Section


class RecorderSettings(Section):
    """The flight recorder: a file of each of the last solves, with its events and the decisions on it, for
    `thresher replay`. Off unless it has a folder."""

    folder: Path | None = None
    """Where recordings are kept; it is made if it is not there. They hold programs, and only the server's user may read
    them. Absent: nothing is recorded."""
    solves: Positive = 32
    """How many recordings are kept; the oldest go first."""
    max_bytes: Annotated[ByteSize, Field(ge=1 << 16)] = ByteSize(64 << 20)
    """How much all of them may take, in bytes. One solve may have a quarter of it; what comes beyond that is left out,
    and its recording says so."""
