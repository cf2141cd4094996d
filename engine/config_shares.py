"""The settings of models that share a device: what each gets of its time and its memory."""

from typing import Annotated

from pydantic import ByteSize, Field

from engine.config_base import Section


class ShareSettings(Section):
    """What one of several models gets of the device that they share."""

    model: str
    """The model, as models.serve has it."""
    weight: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    """Its part of the device's time while others have work, too: twice the weight is twice the time."""
    kv_bytes: Annotated[ByteSize, Field(ge=1 << 20)] | None = None
    """Memory for its keys and values, in bytes. Absent: engine.kv_bytes."""
