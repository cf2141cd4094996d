"""Files of tokens for tests."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.serving.tokens import Scope, TokenRecord, change_tokens, digest_of, draw_token


def add_token(path: Path, name: str, *scopes: str, certificate: str | None = None, **fields: Any) -> str:
    """Adds a caller as `thresher token add` does; its token."""
    token, identity = draw_token()
    record = TokenRecord(
        id=identity,
        name=name,
        scopes=tuple(Scope(scope) for scope in scopes or ("solve",)),
        sha256=None if certificate else digest_of(token),
        certificate=certificate,
        created=datetime.now(UTC),
        **fields,
    )
    change_tokens(path, "serving.tokens_file", lambda records: (*records, record))
    return token


def drop_tokens(path: Path, names: Iterable[str]) -> None:
    """Takes callers out."""
    gone = set(names)
    change_tokens(path, "serving.tokens_file", lambda records: [one for one in records if one.name not in gone])


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata with a token."""
    return (("authorization", f"Bearer {token}"),)
