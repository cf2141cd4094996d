"""Servers and whoever asks them share a process and a loop here: a busy machine makes all of them late together."""

import pytest

from engine.remote import link, replica


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (link, replica):
        monkeypatch.setattr(module, "_ASK_SECONDS", 60.0)
