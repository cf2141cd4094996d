"""Why a model cannot be had or run. Every message names the way out."""


class ModelError(Exception):
    """Base of all errors about models."""


class UnknownModel(ModelError):
    """Neither a name of the catalogue nor a file."""


class ModelUnavailable(ModelError):
    """No source of the model can be reached."""


class ModelCorrupt(ModelError):
    """The file is not what it should be: damaged, cut short, or with another hash."""


class SourceFailed(ModelError):
    """A source cannot be reached, lacks the file or delivered something else; the text says which."""


class BrokenOff(SourceFailed):
    """A source fell silent on the way. What it delivered may well be right."""


class UnsupportedModel(ModelError):
    """The file is sound, but holds something that is not supported; the message names it."""
