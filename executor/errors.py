"""What the executor raises. A program that fails is never an error: that is a verdict."""


class ExecutorError(Exception):
    """Base class."""


class SandboxUnavailable(ExecutorError):
    """This machine cannot give the isolation asked for. The message says what is missing and the way out."""


class ExecutionCancelled(ExecutorError):
    """`cancel_group` ended this run; its jail is gone."""


class ExecutorBusy(ExecutorError):
    """The queue is full: slow down, or raise `queue_limit`."""


class ExecutorClosed(ExecutorError):
    """The executor is shut or shutting."""


class InvalidProgram(ExecutorError, ValueError):
    """The caller's program record is wrong (a test that cannot be parsed, an unknown language). Names the field."""


class UnsupportedLanguage(InvalidProgram):
    """No such language, or this machine lacks its tools. The message names the language and what to install."""


class JailError(ExecutorError):
    """A jail did not start, or broke: the sandbox's fault, never the candidate's."""


class ExecutorDied(ExecutorError):
    """The executor's process did not start, or ended at its start."""
