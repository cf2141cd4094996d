"""An engine's side of taking turns on a device, see engine.loop.arbiter."""

from collections.abc import Callable

from engine.loop.messages import TurnGranted, TurnOver, TurnWanted


class DeviceTurn:
    """Whether the device is this engine's. Without `shared` it always is, and nothing is sent."""

    __slots__ = ("_asked", "_keep", "_send", "_shared", "_step", "mine")

    def __init__(self, send: Callable[[TurnWanted | TurnOver], None], *, shared: bool) -> None:
        self.mine = not shared
        self._send = send
        self._shared = shared
        self._keep = not shared
        self._asked: bool | None = None  # the class of work that was told last, while waiting for the turn
        self._step = 0.0  # seconds of the last step of this turn

    def want(self, *, interactive: bool) -> None:
        """There is work; ask for the turn unless that has been said."""
        if not self.mine and self._asked is not interactive:
            self._asked = interactive
            self._send(TurnWanted(interactive))

    def take(self, granted: TurnGranted) -> None:
        """The turn is here."""
        self.mine, self._keep, self._asked, self._step = True, granted.keep, None, 0.0

    def ran(self, seconds: float, *, interactive: bool) -> None:
        """A step was computed. The others need not wait until its results are worked on: most often there is more."""
        self._step = seconds
        if not self._keep:
            self.give_back(more=True, interactive=interactive)

    def give_back(self, *, more: bool, interactive: bool) -> None:
        """Between two steps: the turn, if it is here and others may have it."""
        if self._shared and self.mine:
            self.mine = False
            self._asked = interactive if more else None
            self._send(TurnOver(seconds=self._step, more=more, interactive=interactive))
