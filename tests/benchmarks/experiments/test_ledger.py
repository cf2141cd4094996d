"""The ledger of a run: what is on the disk stays, what was half written goes, another protocol is refused."""

import json
from pathlib import Path

import pytest
from support.experiments import outcome

from benchmarks.experiments.errors import LedgerError, OtherProtocol
from benchmarks.experiments.ledger import Ledger, differences

PROTOCOL = {"arms": [{"name": "a", "samples": 2}, {"name": "b", "samples": 2}], "limits": {"cpu_seconds": 3.0}}
FIRST, SECOND = outcome("1", ["passed", "wrong_answer"], tokens=[5, 7]), outcome("2", ["time_limit", "passed"])


def test_what_was_kept_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "x.jsonl"
    with Ledger(path, PROTOCOL) as ledger:
        ledger.add_session({"date": "monday"})
        ledger.require_source("", {"model": "m"})
        ledger.add("a", FIRST)
        ledger.add("b", SECOND)
    with Ledger(path, PROTOCOL) as ledger:
        assert ledger.outcomes == {("a", "1"): FIRST, ("b", "2"): SECOND}
        assert ledger.sessions == [{"date": "monday"}] and ledger.sources == {"": {"model": "m"}}


@pytest.mark.parametrize("torn", [b'{"arm":"a","outcome":{"id":"3"', b"\x00\x00", b"{"])
def test_a_line_that_was_being_written_goes_and_the_next_one_is_whole(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "x.jsonl"
    with Ledger(path, PROTOCOL) as ledger:
        ledger.add("a", FIRST)
    with path.open("ab") as file:
        file.write(torn)
    with Ledger(path, PROTOCOL) as ledger:
        assert list(ledger.outcomes) == [("a", "1")]
        ledger.add("b", SECOND)
    with Ledger(path, PROTOCOL) as ledger:
        assert ledger.outcomes == {("a", "1"): FIRST, ("b", "2"): SECOND}


def test_another_protocol_is_refused_with_the_differences(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with Ledger(path, PROTOCOL) as ledger:
        ledger.add("a", FIRST)
    other = {**PROTOCOL, "arms": [{"name": "a", "samples": 3}], "seed": 1}
    with pytest.raises(OtherProtocol) as caught:
        Ledger(path, other)
    told = str(caught.value)
    assert "arms[a].samples: recorded 2, now 3" in told
    assert "arms[b].samples: recorded 2, now nothing" in told
    assert "seed: recorded nothing, now 1" in told and "--out" in told and "cpu_seconds" not in told
    with Ledger(path, PROTOCOL) as ledger:
        assert ledger.outcomes  # the refusal has not touched it


def test_another_source_is_refused(tmp_path: Path) -> None:
    with Ledger(tmp_path / "x.jsonl", PROTOCOL) as ledger:
        ledger.require_source("", {"model": "m", "arithmetic": "int8"})
        ledger.require_source("", {"model": "m", "arithmetic": "int8"})
        ledger.require_source("big", {"model": "b", "arithmetic": "int8"})
        with pytest.raises(OtherProtocol, match='arithmetic: recorded "int8", now "float32"'):
            ledger.require_source("", {"model": "m", "arithmetic": "float32"})
        ledger.add("a", FIRST)


def test_many_differences_are_counted(tmp_path: Path) -> None:
    before, after = ({f"key{n}": n + add for n in range(20)} for add in (0, 1))
    assert len(differences(before, after)) == 20
    with Ledger(tmp_path / "x.jsonl", before) as ledger:
        ledger.add("a", FIRST)
    with pytest.raises(OtherProtocol, match="and 8 more"):
        Ledger(tmp_path / "x.jsonl", after)


def test_two_runs_do_not_share_a_ledger(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with Ledger(path, PROTOCOL) as ledger:
        with pytest.raises(LedgerError, match="in use"):
            Ledger(path, PROTOCOL)
        ledger.add("a", FIRST)


def test_a_run_that_did_nothing_leaves_nothing_and_an_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with Ledger(path, PROTOCOL):
        pass
    assert not path.exists()
    with Ledger(path, PROTOCOL) as ledger:
        ledger.add("a", FIRST)
    with Ledger(path, PROTOCOL):
        pass
    assert path.exists()


@pytest.mark.parametrize("content", ["no json\n", '{"ledger": 99, "protocol": {}}\n', "[1]\n", "{}\n"])
def test_a_file_of_another_kind_is_not_touched(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(content)
    with pytest.raises(LedgerError, match="another file"):
        Ledger(path, PROTOCOL)
    assert path.read_text() == content


def test_programs_that_are_no_unicode_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    strange = outcome("1", ["passed"])
    strange = type(strange).read({**strange.plain(), "id": "\ud800"})
    with Ledger(path, PROTOCOL) as ledger:
        ledger.add("a", strange)
    with Ledger(path, PROTOCOL) as ledger:
        assert ledger.outcomes == {("a", "\ud800"): strange}
    assert json.loads(path.read_text().splitlines()[1])["outcome"]["id"] == "\ud800"
