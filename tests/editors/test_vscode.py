"""The VS Code extension: its own tests, with a record of what the language server really says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.editor import Editor, editor, played, report, until
from support.fake_server import FakeServer
from support.node import ROOT, check_lock, check_passed, installed, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
FOLDER = "editors/vscode"
RECORD = ROOT / FOLDER / "test" / "recorded.json"
STUB = '''def double(n):
    """Twice n.

    >>> double(2)
    4
    >>> double(-1)
    -2
    """
    ...
'''
BAD = "def double(n):\n    return n * n\n"
GOOD = "def double(n: int) -> int:\n    # shift\n    return n << 1\n"
FAILED = "not so: _thresher_examples('double(-1)\\n') == '-2\\n' (got '1\\n')"


async def _record(one: Editor) -> dict[str, Any]:
    uri = one.open("double.py", STUB)
    result = plain(await one.solve(uri, 3, apply=False))
    candidates = [
        plain(await one.client.protocol.send_request_async("thresher/candidate", {"id": result["id"], "candidate": n}))
        for n in range(2)
    ]
    await until(lambda: [event.kind for event in one.events][-1:] == ["ended"])
    record = {
        "uri": uri,
        "text": STUB,
        "solvedText": STUB.replace("    ...\n", "    # shift\n    return n << 1\n"),
        "events": [plain(event) for event in one.events],
        "result": result,
        "candidates": candidates,
    }
    return json.loads(json.dumps(record).replace(uri, "file:///home/me/double.py"))


def plain(value: Any) -> Any:
    """Named tuples as the mappings that they were."""
    if hasattr(value, "_asdict"):
        return {key: plain(item) for key, item in value._asdict().items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


async def test_the_record_is_what_the_language_server_says(tmp_path: Path) -> None:
    with FakeServer(tmp_path / "s.sock") as fake:
        fake.events = lambda: played((BAD, report(1, 2, FAILED)), (GOOD, report(2, 2)))
        async with editor(tmp_path, fake.address, events=True) as one:
            record = await _record(one)
    fresh = tmp_path / "recorded.json"
    fresh.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    assert record == json.loads(RECORD.read_text(encoding="utf-8")), f"if this is as it should be: cp {fresh} {RECORD}"


@pytest.mark.parametrize("folder", [FOLDER, f"{FOLDER}/test-real"])
def test_the_lock_file_names_no_registry(folder: str) -> None:
    check_lock(folder)


def test_the_extension_is_built_and_passes_its_own_tests(tmp_path: Path) -> None:
    copy = installed(FOLDER, tmp_path)
    done = run("npm", "run", "--silent", "test", folder=copy)
    check_passed(done.stdout)


def test_the_manifest_has_the_version_of_the_project() -> None:
    manifest = json.loads((ROOT / FOLDER / "package.json").read_text(encoding="utf-8"))
    version = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    assert manifest["version"] == version.group(1)
