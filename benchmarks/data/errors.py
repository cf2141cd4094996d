"""Why a problem set cannot be had or used. Every message names the way out."""


class DataError(Exception):
    """Base of all errors about problem sets."""


class UnknownSet(DataError):
    """Neither a name of the registry nor a file."""


class DataMissing(DataError):
    """No place has the set's files. The message says what to fetch and where to put it."""


class DataDamaged(DataError):
    """A file is not what it should be; the message names it, and the line."""


class HubFailed(DataError):
    """The hub cannot be reached, lacks a file or delivered something else; the text says which."""
