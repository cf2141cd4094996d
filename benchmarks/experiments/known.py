"""Known answers that need no model: every replay and every set of references, judged here, against what must come out.

    make bench-replay            all of them; about an hour on two cores
    THRESHER_DATA=FOLDER python -m benchmarks.experiments.known [--only NAME ...] [--folder FOLDER] [--list]

Each is a command of `thresher bench` and values of its result. Results go to --folder, so that a run that was ended
goes on. The last line says how many agree; the exit code is 1 where one does not.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

_CODEGEN = "replay-humaneval-codegen16b"
_QWEN = "replay-evalplus-qwen25coder-base"
_LDB = "replay-humaneval-ldb-seeds"
_MAPCODER = "replay-apps-mapcoder"
_CRUX = "replay-cruxeval-qwen25coder-base"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A command without `thresher bench`, and what its result must hold. In it {data} is the folder of sets and {ours}
    that of our own recordings.

    equal: value by its place in the result, keys joined by dots. at_most, at_least: the same for values that may be
    smaller, or larger.
    """

    name: str
    command: str
    equal: Mapping[str, Any]
    at_most: Mapping[str, float] = field(default_factory=dict[str, float])
    at_least: Mapping[str, float] = field(default_factory=dict[str, float])


def _known(name: str, command: str, equal: Mapping[str, Any]) -> Known:
    return Known(name=name, command=command, equal=equal)


def _solved(count: int, of: int, arm: str = "samples") -> dict[str, int]:
    return {f"scores.{arm}.solved": count, f"scores.{arm}.problems": of}


def _recorded(folder: str, file: str) -> str:
    return f"--generator replay --recorded {{data}}/{folder}/{file} --only-recorded"


def _accepts(passed: int, rejected: int) -> dict[str, int]:
    return {"scores.samples_that_passed": passed, "scores.of_these_rejected": rejected}


_OF_CODEGEN = _recorded(_CODEGEN, "code_solution.jsonl.gz")
_OURS = Path(__file__).resolve().parent.parent / "results" / "cpu" / "recordings"
_GENERATED = f"--tests {{data}}/{_CODEGEN}/test_case.jsonl.gz"

KNOWN = (
    _known("mbpp-references", "mbpp --generator reference --split all", _solved(724, 724)),
    _known("mbpp-edited-references", "mbpp --edited --generator reference --split all", _solved(300, 300)),
    _known("humaneval-references", "humaneval --generator reference", _solved(164, 164)),
    _known("mathqa-references", "mathqa --generator reference", _solved(942, 942)),
    _known("mathqa-validation-references", "mathqa --generator reference --split validation", _solved(2822, 2822)),
    _known("prediction-references", "prediction --generator reference", _solved(400, 400)),
    _known(
        "prediction-mbpp-references",
        "prediction --set mbpp --generator reference --split all",
        _solved(2172, 2172),
    ),
    _known("humaneval-1.5b", f"humaneval {_recorded(_QWEN, 'humaneval-1.5b.jsonl.gz')}", _solved(42, 82)),
    _known("humaneval-7b", f"humaneval {_recorded(_QWEN, 'humaneval-7b.jsonl.gz')}", _solved(52, 82)),
    # HumanEval/106 calls math.factorial without an import. The recording's harness ran all programs in one namespace,
    # where an earlier one had imported it: 30 as recorded, and 29 of programs that stand alone.
    _known(
        "humaneval-starcoder",
        f"humaneval {_recorded(_LDB, 'starcoder.jsonl.gz')} --recorded-imports math",
        _solved(30, 82),
    ),
    _known("humaneval-starcoder-alone", f"humaneval {_recorded(_LDB, 'starcoder.jsonl.gz')}", _solved(29, 82)),
    _known("humaneval-codellama", f"humaneval {_recorded(_LDB, 'codellama.jsonl.gz')}", _solved(47, 82)),
    _known("humaneval-gpt-3.5", f"humaneval {_recorded(_LDB, 'gpt-3.5-turbo-0613.jsonl.gz')}", _solved(61, 82)),
    _known("humaneval-gpt-4", f"humaneval {_recorded(_LDB, 'gpt-4-1106-preview.jsonl.gz')}", _solved(71, 82)),
    _known("cruxeval-o-1.5b", f"prediction {_recorded(_CRUX, 'output-cot-1.5b.json.gz')}", _solved(139, 400)),
    _known("cruxeval-o-7b", f"prediction {_recorded(_CRUX, 'output-cot-7b.json.gz')}", _solved(223, 400)),
    # The recorded programs all read their input. Problems of this level want that; most others want a function.
    *(
        _known(
            f"apps-competition-{model}",
            f"apps --split train --level competition {_recorded(_MAPCODER, f'{model}-direct.jsonl.gz')}",
            {"scores.levels.competition.strict.value": solved / 32, "scores.levels.competition.problems": 32},
        )
        for model, solved in (("chatgpt", 3), ("gpt4turbo", 7))
    ),
    _known(
        "false-accepts-humaneval-1.5b",
        f"overfit --set humanevalplus {_recorded(_QWEN, 'humaneval-1.5b.jsonl.gz')}",
        _accepts(42, 6),
    ),
    _known(
        "false-accepts-humaneval-7b",
        f"overfit --set humanevalplus {_recorded(_QWEN, 'humaneval-7b.jsonl.gz')}",
        _accepts(52, 7),
    ),
    _known(
        "false-accepts-mbpp-1.5b",
        f"overfit --set mbppplus {_recorded(_QWEN, 'mbpp-1.5b.jsonl.gz')}",
        _accepts(199, 31),
    ),
    _known(
        "false-accepts-mbpp-7b",
        f"overfit --set mbppplus {_recorded(_QWEN, 'mbpp-7b.jsonl.gz')}",
        _accepts(219, 42),
    ),
    Known(
        name="codegen-16b",
        command=f"curve --set humaneval {_OF_CODEGEN} --samples 100",
        equal={**_solved(65, 82), "cost.samples.samples": 8200},
        # 1,923 samples pass; the fraction is a mean of floats.
        at_most={"cost.samples.programs_run": 6104, "scores.samples.fraction_of_samples.value": 1923.5 / 8200},
        at_least={"scores.samples.fraction_of_samples.value": 1922.5 / 8200},
    ),
    # Against all samples, as harnesses draw them. Of sampling until the first pass it saves 8 %: docs/experiments.md.
    Known(
        name="give-up-codegen-16b",
        command=f"give-up --set humaneval {_OF_CODEGEN} --samples 100",
        equal={"scores.problems": 82, "scores.solved": 65, "scores.hopeless": 17, "scores.all": 8200.0},
        at_most={"scores.rule.lost_share": 0.01, "scores.rule.on_hopeless": 99.0, "scores.until_pass": 2535.5},
        at_least={"scores.rule.saved_of_all": 0.3, "scores.until_pass": 2533.5},
    ),
    # Of the 82 problems seven have no generated test that is a literal call. 48 have a right sample among 20.
    Known(
        name="selection-codegen-16b",
        command=f"selection {_OF_CODEGEN} {_GENERATED} --samples 20",
        equal={"scores.problems": 75, "scores.samples_per_problem": 20, "scores.oracle.value": 48 / 75},
        # 347 of 1,500 samples are right; of those that CodeT leaves equal the mean counts.
        at_least={"scores.choices.random.value": 0.23133, "scores.choices.codet.value": 0.39062},
        at_most={"scores.choices.random.value": 0.23134, "scores.choices.codet.value": 0.39063},
    ),
    # Tests that our model wrote (benchmarks/results/cpu/selection.json).
    Known(
        name="selection-ours",
        command="selection --generator replay --recorded {ours}/humaneval-chat-30.jsonl.gz --only-recorded "
        "--tests {ours}/selection-tests.jsonl.gz --k 1,10",
        equal={"scores.problems": 30, "scores.samples_per_problem": 10, "scores.oracle.value": 1.0},
        at_least={"scores.choices.random.value": 0.78333, "scores.choices.codet.value": 0.96296},
        at_most={"scores.choices.random.value": 0.78334, "scores.choices.codet.value": 0.96297},
    ),
)


def differences(known: Known, result: Mapping[str, Any]) -> list[str]:
    """What is not as it must be, in words; empty where all is."""
    found = [] if result["complete"] else [f"{known.name}: the run is not complete"]
    for place, wanted in known.equal.items():
        if (got := value_at(result, place)) != wanted:
            found.append(f"{known.name}: {place} is {got}, and must be {wanted}")
    for place, most in known.at_most.items():
        if (got := value_at(result, place)) is None or got > most:
            found.append(f"{known.name}: {place} is {got}, and must be {most:g} at most")
    for place, least in known.at_least.items():
        if (got := value_at(result, place)) is None or got < least:
            found.append(f"{known.name}: {place} is {got}, and must be {least:g} at least")
    return found


def value_at(result: Mapping[str, Any], place: str) -> Any:
    """The value at a place such as scores.samples.solved; None where there is none."""
    value: Any = result
    for key in place.split("."):
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


def run(known: Known, data: Path, folder: Path) -> list[str]:
    """Run it, or read what is there of it, and compare. Returns the differences."""
    from benchmarks.command import app

    out = folder / f"{known.name}.json"
    words = [word.format(data=data, ours=_OURS) for word in known.command.split()]
    done = CliRunner().invoke(app, [*words, "--data", str(data), "--out", str(out)])
    if done.exit_code:
        return [f"{known.name}: exit code {done.exit_code}: {done.output.strip()[-300:]}"]
    return differences(known, json.loads(out.read_text()))


def main() -> None:
    """Entry of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    names = [known.name for known in KNOWN]
    parser.add_argument("--only", action="append", choices=names, help="this one; may be repeated; all if not given")
    parser.add_argument("--folder", type=Path, default=Path("thresher-bench") / "replays", help="of the results")
    parser.add_argument("--list", action="store_true", help="name them and run nothing")
    options = parser.parse_args()
    chosen = [known for known in KNOWN if not options.only or known.name in options.only]
    if options.list:
        print("\n".join(f"{known.name}: thresher bench {known.command}" for known in chosen))
        return
    data = os.environ.get("THRESHER_DATA", "")
    if not Path(data).is_dir() or not data:
        sys.exit("THRESHER_DATA must name the folder with the problem sets and recordings (docs/data.md)")
    wrong: list[str] = []
    for number, known in enumerate(chosen, 1):
        found = run(known, Path(data), options.folder)
        wrong += found
        print(f"{number}/{len(chosen)} {known.name}: {'; '.join(found) or 'as known'}", flush=True)
    print(f"{len(chosen) - len({line.partition(':')[0] for line in wrong})} of {len(chosen)} as known")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
