"""Why a solve was refused or failed. The front maps each to one gRPC status; nothing else leaves `engine.solving`."""


class SolveError(Exception):
    """Base of all errors of a solve. `reason` is the UPPER_SNAKE_CASE word that clients may switch on."""

    reason = "ENGINE_FAILED"


class InvalidRequest(SolveError):
    """A field has a value that cannot be served."""

    reason = "BAD_REQUEST"

    def __init__(self, field: str, description: str, *, reason: str = "BAD_REQUEST") -> None:
        super().__init__(f"{field}: {description}")
        self.field = field
        self.description = description
        self.reason = reason


class Unsupported(SolveError):
    """The request uses something this server lacks; it is refused by name, never ignored."""

    reason = "UNSUPPORTED"

    def __init__(self, field: str, description: str, *, reason: str = "UNSUPPORTED") -> None:
        super().__init__(f"{field}: {description}")
        self.field = field
        self.description = description
        self.reason = reason


class ModelNotFound(SolveError):
    """The named model is not served here."""

    reason = "MODEL_NOT_FOUND"

    def __init__(self, model: str, known: tuple[str, ...]) -> None:
        super().__init__(f"model {model!r} is not served here; this server has: {', '.join(known) or 'none'}")
        self.model = model
        self.known = known


class QueueFull(SolveError):
    """The bounded queue is full; `retry_after` is in seconds."""

    reason = "QUEUE_FULL"

    def __init__(self, waiting: int, retry_after: float) -> None:
        super().__init__(f"{waiting} solves are waiting already; try again in {retry_after:.1f} s")
        self.retry_after = retry_after


class Unavailable(SolveError):
    """Starting, draining, or a part of the server is down. `retry_after` in seconds, `model` what is being loaded."""

    def __init__(self, reason: str, message: str, retry_after: float = 1.0, model: str = "") -> None:
        super().__init__(message)
        self.reason = reason  # STARTING, DRAINING, SANDBOX_UNAVAILABLE, ENGINE_RESTARTING
        self.retry_after = retry_after
        self.model = model


class DeadlineExceeded(SolveError):
    """The caller's deadline passed, or cannot be met (`detail`); `reason` says whether the solve was still queued."""

    def __init__(self, *, queued: bool, detail: str = "") -> None:
        super().__init__(detail or ("deadline passed while queued" if queued else "deadline passed while running"))
        self.reason = "DEADLINE_IN_QUEUE" if queued else "DEADLINE_RUNNING"


class SessionNotFound(SolveError):
    """The caller has no such session: there never was one, it is over, or it is another caller's."""

    reason = "SESSION_NOT_FOUND"

    def __init__(self, session: str) -> None:
        super().__init__(f"there is no session {session[:80]!r} of this caller; it may have expired; start a new one")
        self.session = session


class SessionSuperseded(SolveError):
    """A newer connection has taken the session over."""

    reason = "SESSION_SUPERSEDED"

    def __init__(self, session: str) -> None:
        super().__init__(f"another connection has taken over session {session!r}")


class SessionEventsGone(SolveError):
    """What a resume asks for is kept no longer. `oldest` is the first sequence number that still is."""

    reason = "SESSION_EVENTS_GONE"

    def __init__(self, seen: int, oldest: int) -> None:
        super().__init__(f"seen: after {seen} nothing is kept before {oldest}; resume with seen={oldest - 1}")
        self.oldest = oldest


class SessionLimit(SolveError):
    """A bound of the sessions is reached: of their number, or of what one may hold."""

    def __init__(self, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason  # SESSION_LIMIT, SESSION_FULL
        self.retry_after = retry_after


class EngineFailed(SolveError):
    """A fault of ours."""

    reason = "ENGINE_FAILED"
