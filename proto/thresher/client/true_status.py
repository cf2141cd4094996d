"""Why an asyncio call with a stream of requests has ended, whatever was being sent at that moment."""

from typing import Any


class _Core:
    """gRPC's own call, but for one method."""

    def __init__(self, core: Any) -> None:
        self._core = core

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def set_internal_error(self, error: str) -> None:
        """A request could not be sent. The call's own status says why, and is waited for."""


def keep_true_status(call: Any) -> Any:
    """The same call, which ends with the status that the server has sent.

    A request that is sent while the server ends the call fails, and grpc.aio (1.85) then puts INTERNAL, "Internal error
    from Core", in the place of the server's status, be that OK: there is no other way to keep it out.
    """
    call._cython_call = _Core(call._cython_call)
    return call
