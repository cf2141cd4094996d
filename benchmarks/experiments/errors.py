"""What can be wrong with a run."""


class CannotRun(Exception):
    """What is asked for cannot be done; said before the first token is drawn. The message names the way out."""


class OtherProtocol(CannotRun):
    """The file holds a run by another protocol; the message shows the differences."""


class LedgerError(CannotRun):
    """The file of a run cannot be used; the message says why and what to do."""


class RunFailed(Exception):
    """The server or the sandbox failed, or did not do what the protocol says; never the fault of a program."""


class NotCountable(ValueError):
    """These outcomes do not give the score asked for; the message says which and why."""
