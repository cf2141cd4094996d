"""The server that a language server asks: found anew for each solve, connected to once."""

from collections.abc import Callable
from dataclasses import dataclass

from thresher.client import AsyncClient
from thresher.client.channel import find_server

_LOADING_SECONDS = 240.0
_CALL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Served:
    """A model as this side needs to know it; `name` is empty for the server's default."""

    name: str
    infill: bool


class Connection:
    """Gives a client for the server that is there now; a server that was started meanwhile is found.

    `address` and `token` are found as `thresher.client.channel.find_server` says.
    """

    def __init__(self, address: str | None = None, token: str | None = None) -> None:
        self._address = address
        self._token = token
        self._client: AsyncClient | None = None

    def client(self) -> AsyncClient:
        """A client. Raises ThresherError where no server is named and none runs here."""
        endpoint = find_server(self._address, self._token)
        if self._client is None or self._client.endpoint != endpoint:
            self._client = AsyncClient(endpoint)
        return self._client

    async def served(self, model: str, waiting: Callable[[], None] | None) -> Served:
        """The model that a solve will draw from.

        Waits, after a call of `waiting`, for a server that still loads it; without one it is as if it had none. Raises
        ThresherError.
        """
        client = self.client()
        info = await client.server_info(timeout=_CALL_SECONDS)
        if waiting is not None and not info.max_programs_in_flight:  # absent while a server starts
            waiting()
            await client.wait_ready(_LOADING_SECONDS)
            info = await client.server_info(timeout=_CALL_SECONDS)
        name = (model or info.default_model).removeprefix("models/")
        models = await client.models(timeout=_CALL_SECONDS)
        return Served(model, any(one.infill for one in models if one.name.removeprefix("models/") == name))

    async def close(self) -> None:
        """Ends what is still running."""
        if self._client is not None:
            await self._client.close()
