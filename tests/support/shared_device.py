"""Engines that share a device, in made time: each has jobs of steps, the arbiter says whose step is computed."""

from collections.abc import Callable
from dataclasses import dataclass, field

from engine.loop.arbiter import Arbiter, Seat
from engine.loop.messages import TurnAsked, TurnGranted


@dataclass
class Job:
    """Work that comes to an engine at a time: steps of so many seconds."""

    at: float
    interactive: bool
    steps: list[float]


@dataclass
class Turn:
    """A step as it was computed."""

    name: str
    interactive: bool
    began: float
    seconds: float
    others: set[tuple[str, bool]]
    """Who waited as it began, and with work of which class."""


@dataclass(eq=False)
class Player:
    """An engine: its jobs that are here, and what it was told."""

    seat: Seat
    jobs: list[Job] = field(default_factory=list)
    keep: bool = False
    back: bool = False

    @property
    def interactive(self) -> bool:
        return any(job.interactive for job in self.jobs)


class Timer:
    """Set, and perhaps cancelled."""

    def __init__(self, seconds: float, callback: Callable[[], None]) -> None:
        self.seconds = seconds
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class World:
    """Runs the engines until all work is done, or `until`."""

    def __init__(self, weights: dict[str, float]) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []
        self.arbiter = Arbiter(self._later)
        self.players = {name: Player(self.arbiter.seat(name, weight)) for name, weight in weights.items()}
        self.granted: Player | None = None
        self.turns: list[Turn] = []
        for player in self.players.values():
            player.seat.tell = lambda message, player=player: self._told(player, message)

    def _later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(seconds, callback))
        return self.timers[-1]

    def _told(self, player: Player, message: TurnGranted | TurnAsked) -> None:
        match message:
            case TurnGranted():
                assert self.granted is None, "the device was given to two engines"
                self.granted, player.keep, player.back = player, message.keep, False
            case TurnAsked():
                assert self.granted is player, "somebody was asked for what it does not have"
                player.back = True

    def run(self, arrivals: dict[str, list[Job]], until: float = float("inf")) -> None:
        """Let the jobs come, and compute steps."""
        coming = sorted(
            ((job.at, name, job) for name, jobs in arrivals.items() for job in jobs), key=lambda one: one[0]
        )
        while self.now < until:
            while coming and coming[0][0] <= self.now:
                self._arrive(*coming.pop(0)[1:])
            player = self.granted
            if player is None:
                assert not any(one.jobs for one in self.players.values()), "the device stands still, and somebody waits"
                if not coming:
                    return
                self.now = coming[0][0]
            elif player.back or not player.jobs:
                self._over(player, 0.0)
            else:
                self._step(player, coming)

    def _arrive(self, name: str, job: Job) -> None:
        player = self.players[name]
        player.jobs.append(job)
        if self.granted is not player:
            player.seat.want(interactive=player.interactive)

    def _step(self, player: Player, coming: list[tuple[float, str, Job]]) -> None:
        others = {(one.seat.name, one.interactive) for one in self.players.values() if one.jobs and one is not player}
        job = player.jobs[0]
        seconds = job.steps.pop(0)
        self.turns.append(Turn(player.seat.name, player.interactive, self.now, seconds, others))
        self.now += seconds
        while coming and coming[0][0] <= self.now:
            self._arrive(*coming.pop(0)[1:])
        if not job.steps:
            player.jobs.pop(0)
        if player.back or not player.keep or not player.jobs:
            self._over(player, seconds)

    def _over(self, player: Player, seconds: float) -> None:
        self.granted = None
        player.seat.over(seconds, more=bool(player.jobs), interactive=player.interactive)
