import contextlib
from pathlib import Path

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_gguf import vocabulary, weights, write_gguf

from engine.text.gguf_header import GgufError, read_header


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_reads_what_the_gguf_package_reads(path: Path) -> None:
    header, reader = read_header(path), gguf.GGUFReader(path)
    names = {key for key in reader.fields if not key.startswith("GGUF.")}
    assert header.metadata.keys() == names
    for name in names:
        assert header.metadata[name] == reader.fields[name].contents()
    assert header.metadata["tokenizer.ggml.tokens"] == vocabulary()[0]
    assert header.tensors.keys() == weights("qwen2", tied=True).keys()
    for tensor in reader.tensors:
        info = header.tensors[tensor.name]
        assert (info.offset, info.kind) == (tensor.data_offset, int(tensor.tensor_type))
        assert info.shape == tuple(int(size) for size in tensor.shape[::-1])


def test_other_files_are_refused(tmp_path: Path) -> None:
    for name, content in (("empty", b""), ("text", b"not a model, but long enough to be one" * 3)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(GgufError, match="is no GGUF file"):
            read_header(tmp_path / name)
    with pytest.raises(GgufError, match="is a folder"):
        read_header(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "absent")


def test_other_versions_are_refused(path: Path, tmp_path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4:8] = (1).to_bytes(4, "little")
    (tmp_path / "old.gguf").write_bytes(content)
    with pytest.raises(GgufError, match="version 1 is not supported"):
        read_header(tmp_path / "old.gguf")


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_file_cut_anywhere_in_its_head_is_refused(path: Path, data: st.DataObject) -> None:
    content = path.read_bytes()
    head = min(info.offset for info in read_header(path).tensors.values()) - 64
    cut = data.draw(st.integers(24, head))
    part = path.with_name("cut.gguf")
    part.write_bytes(content[:cut])
    with pytest.raises(GgufError, match="cut short"):
        read_header(part)


@settings(deadline=None, max_examples=150)
@given(position=st.integers(4, 2000), value=st.integers(0, 255))
def test_a_changed_byte_never_does_worse_than_a_clear_error(path: Path, position: int, value: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] = value
    part = path.with_name("changed.gguf")
    part.write_bytes(content)
    with contextlib.suppress(GgufError):
        read_header(part)


def test_the_kind_of_a_value_is_checked(path: Path) -> None:
    header = read_header(path)
    assert header.text("general.architecture") == "qwen2"
    assert header.integer("absent", 7) == 7
    with pytest.raises(GgufError, match=r"general\.architecture should be an integer but is str 'qwen2'"):
        header.integer("general.architecture")
    with pytest.raises(GgufError, match="absent should be a string but is absent"):
        header.text("absent")
    with pytest.raises(GgufError, match="should be an array"):
        header.array("general.architecture")
    with pytest.raises(GgufError, match="should be a number"):
        header.number("general.architecture")
