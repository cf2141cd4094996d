"""How one sees that a file is another one than before."""

from pathlib import Path


def signature(path: Path) -> tuple[int, ...]:
    """Differs once the file was changed or replaced, also behind a link. Empty for a file that is not there."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_ino, found.st_mtime_ns, found.st_size)
