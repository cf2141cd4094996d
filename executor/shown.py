"""Values as they are shown in messages: short, whatever the candidate returned."""

from executor.guest.plain import Opaque

_SHOWN = 200


def short(value: object) -> str:
    """The value in no more than about 200 characters."""
    if isinstance(value, int) and value.bit_length() > 4096:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, Opaque):
        return repr(value)
    if isinstance(value, list | tuple | set | frozenset | dict) and len(value) > _SHOWN:
        return f"a {type(value).__name__} of {len(value)} items"
    try:
        text = repr(value)
    except ValueError:  # an integer inside is too long to be printed
        text = f"a {type(value).__name__} with a huge integer"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
