"""One server of a tier elsewhere: whether it serves, how busy it is, and the connection to it."""

import asyncio
import random
from collections.abc import Callable

from thresher.client import AsyncClient, ThresherError
from thresher.client.channel import Endpoint
from thresher.v1 import info_service_pb2

from engine.logs import get_logger
from engine.serving.event_in import model_in, model_info_in
from engine.solving.served import ModelInfo

_SERVICE = "thresher.v1.SynthesisService"
_ASK_SECONDS = 2.0
_PERIOD = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0

_log = get_logger(__name__)


class _Trouble(Exception):
    """The server cannot be used now; the text says why."""


class Replica:
    """The server at `name`. It is asked about its health and load every second, and less often while it is down.

    `up` while it takes solves; `mine` are those that it has from here.
    """

    def __init__(self, name: str, endpoint: Endpoint, model: str) -> None:
        self.name = name
        self.up = False
        self.mine = 0
        self.trouble = "it has not answered yet"
        self.info: ModelInfo | None = None
        """Its model, known from its first answer on."""
        self.load = info_service_pb2.GetLoadResponse()
        self.asked = asyncio.Event()
        """Set once it is known whether it is up."""
        self._endpoint = endpoint
        self._model = model
        self._client: AsyncClient | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._changed: Callable[[], None] = lambda: None

    @property
    def client(self) -> AsyncClient:
        """The connection, after `start`."""
        if self._client is None:
            raise AssertionError("a replica that was never started")
        return self._client

    @property
    def busy(self) -> int:
        """Solves that it has, as far as that is known here."""
        return max(self.mine, self.load.solves_running + self.load.solves_waiting)

    def start(self, changed: Callable[[], None]) -> None:
        """Begin to look for it; `changed` is called when it comes up or goes down."""
        self._changed = changed
        self._client = AsyncClient(self._endpoint)
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Hang up, which ends what it still does from here."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
        if self._client is not None:
            await self._client.close()

    def lost(self, why: str) -> None:
        """A call has failed in a way that says that it cannot be used now."""
        self._set(up=False, trouble=why)

    async def answers(self) -> bool:
        """Whether it still answers, which a solve that is silent for long cannot tell."""
        try:
            await self.client.load(timeout=_ASK_SECONDS)
        except ThresherError as error:
            self.lost(str(error))
            return False
        return True

    def _set(self, *, up: bool, trouble: str = "") -> None:
        before, self.up, self.trouble = self.up, up, trouble
        self.asked.set()
        if before != up:
            _log.info("replica", replica=self.name, up=up, reason=trouble)
            self._changed()

    async def _watch(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._ask()
            except (ThresherError, _Trouble) as error:
                self._set(up=False, trouble=str(error))
            except Exception as error:
                self._set(up=False, trouble=f"{type(error).__name__}: {error}")
                _log.exception("a replica could not be asked", replica=self.name)
            else:
                self._set(up=True)
            pause = _FIRST_PAUSE if self.up else min(2 * pause, _LONGEST_PAUSE)
            await asyncio.sleep((_PERIOD if self.up else pause) * random.uniform(0.8, 1.2))

    async def _ask(self) -> None:
        """Raises ThresherError or _Trouble unless it takes solves of its model."""
        health = await self.client.health(_SERVICE, timeout=_ASK_SECONDS)
        if health != "SERVING":
            raise _Trouble(f"its health is {health}: it is starting, draining, or has no model")
        if self.info is None:
            self.info = await self._find_model()
        self.load = await self.client.load(timeout=_ASK_SECONDS)
        if self.load.draining:
            raise _Trouble("it is draining")

    async def _find_model(self) -> ModelInfo:
        wanted = self._model or model_in((await self.client.server_info(timeout=_ASK_SECONDS)).default_model)
        models = [model_info_in(model) for model in await self.client.models(timeout=_ASK_SECONDS)]
        found = next((model for model in models if model.name == wanted), None)
        if found is None:
            raise _Trouble(f"it does not serve the model {wanted!r}; it has: {', '.join(m.name for m in models)}")
        return found
