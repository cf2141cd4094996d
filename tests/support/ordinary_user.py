"""Running a script as an ordinary user, from root, wherever this Python lies."""

import subprocess
import sys
from pathlib import Path

USER = 65534
_PREAMBLE = f"""
import os, sys
os.setgroups([]); os.setgid({USER}); os.setuid({USER})
sys.path[:0] = PATHS
"""


def run_as_ordinary_user(script: str, folder: Path, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run Python source as user 65534, with this process's import paths. `folder` is an empty one to work with."""
    root = Path(__file__).resolve().parents[2]
    paths = repr([str(root), *(path for path in sys.path if path)])
    command = [sys.executable, "-c", _PREAMBLE.replace("PATHS", paths) + script]
    prefix = Path(sys.base_prefix)
    blocked = [part for part in reversed(prefix.parents) if not part.stat().st_mode & 0o001]
    if blocked:
        # This Python lies below a private folder: in a mount namespace of the test's own the way to it is opened.
        steps = [
            f"mount --bind {prefix} {folder}",
            f"mount -t tmpfs -o mode=755 none {blocked[0]}",
            f"mkdir -p {prefix}",
            f"mount --bind {folder} {prefix}",
            'exec "$@"',
        ]
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", "\n".join(steps), "sh", *command]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, cwd="/")
