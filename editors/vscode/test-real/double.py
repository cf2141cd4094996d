"""Numbers."""


def double(n):
    """Twice n.

    >>> double(2)
    4
    >>> double(-1)
    -2
    """
    ...


def half(n):
    """Half of n.

    >>> half(4)
    2
    """
    ...


def endless(n):
    """What the server never finds.

    >>> endless(2)
    4
    """
    ...


def hopeless(n):
    """What no program passes.

    >>> hopeless(2)
    4
    >>> hopeless(-1)
    -2
    """
    ...
