"""Fetching the files of a set from the Hugging Face hub into the cache: whole files of the hub's own hash, or none."""

import hashlib
import queue
import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.data.errors import HubFailed

# The hub is asked even where it is walled off: the answer must begin soon, name look-up included.
_ANSWER_SECONDS = 10.0
_CHUNK = 1 << 20
_SHA256, _GIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFiles:
    """Files of a data set on the hub: their name there -> where they lie below the cache. size: of all, in words."""

    repository: str
    revision: str
    files: tuple[tuple[str, str], ...]
    size: str


def fetch(source: HubFiles, cache: Path) -> tuple[Path, ...]:
    """Fetch all files. An interrupted download goes on where it stopped.

    Raises HubFailed, within seconds where the hub cannot be reached; OSError where the cache cannot be written;
    ModuleNotFoundError where huggingface-hub is not installed.
    """
    arrived = [(_fetched(source, name, cache), cache / target) for name, target in source.files]
    for staged, path in arrived:  # all of them or none: a part of a set would be taken for the set
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(path)
    return tuple(path for _, path in arrived)


def _fetched(source: HubFiles, name: str, cache: Path) -> Path:
    """A whole file of the right hash, beside the place where it will lie."""
    import huggingface_hub  # slow to import, and part of the `server` extra

    url = huggingface_hub.hf_hub_url(source.repository, name, repo_type="dataset", revision=source.revision)
    etag = _ask(url)
    staging = cache / ".hub" / source.repository.replace("/", "--")
    try:
        arrived = Path(
            huggingface_hub.hf_hub_download(
                source.repository, name, repo_type="dataset", revision=source.revision, local_dir=staging
            )
        )
    except Exception as error:  # of the library or of its HTTP client, which are their own affair
        raise HubFailed(f"{url}: {_first_line(error)}") from error
    if not is_announced(arrived, etag):
        shutil.rmtree(staging)
        raise HubFailed(f"{url}: delivered other bytes than it announced (etag {etag})")
    return arrived


def _ask(url: str) -> str:
    """What the hub announces as the file's hash. The library itself may wait for minutes where nothing answers."""
    answers: queue.Queue[Any] = queue.Queue()
    # A look-up of a name cannot be interrupted: it is left behind in a daemon thread when it takes too long.
    threading.Thread(target=_head, args=(url, answers), daemon=True).start()
    try:
        answer = answers.get(timeout=_ANSWER_SECONDS)
    except queue.Empty:
        raise HubFailed(f"no answer within {_ANSWER_SECONDS:.0f} s") from None
    if isinstance(answer, Exception):
        raise HubFailed(f"{url}: {_first_line(answer)}") from answer
    if not answer.etag:
        raise HubFailed(f"{url}: an answer without a hash; is HF_ENDPOINT a hub?")
    return answer.etag


def _head(url: str, answers: queue.Queue[Any]) -> None:
    from huggingface_hub import get_hf_file_metadata

    try:
        answers.put(get_hf_file_metadata(url, timeout=4.0))
    except Exception as error:  # whatever it is, the thread that waits must hear of it
        answers.put(error)


def is_announced(path: Path, etag: str) -> bool:
    """Whether a file is the announced one: the hub names large files by their sha256, others by git's hash."""
    if _SHA256.fullmatch(etag):
        digest = hashlib.sha256()
    elif _GIT.fullmatch(etag):
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    else:
        return False
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == etag


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
