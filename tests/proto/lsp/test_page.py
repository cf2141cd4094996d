"""docs/editors.md tells what is so."""

import json
import re
from pathlib import Path

import pytest
from support.editor import editor, played, report, until
from support.fake_server import FakeServer

PAGE = (Path(__file__).parents[3] / "docs" / "editors.md").read_text(encoding="utf-8")
GOOD = "def double(n):\n    return n << 1\n"


def block(language: str) -> str:
    """The first example of a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found.group(1)


def keys(after: str) -> set[str]:
    """The words in the first column of the table that follows some text."""
    rows = re.search(r"(?:^\|.*\n)+", PAGE[PAGE.index(after) :], re.MULTILINE)
    assert rows is not None
    cells = [row.split("|")[1] for row in rows.group(0).splitlines()[2:]]
    return {word for cell in cells for word in re.findall(r"`(\w+)`", cell)}


async def test_the_example_is_solved_by_the_request_as_it_stands_there(tmp_path: Path) -> None:
    stub = block("python")
    request = json.loads(block("json"))
    with FakeServer(tmp_path / "s.sock") as fake:
        fake.events = lambda: played((GOOD, report(2, 2)))
        async with editor(
            tmp_path, fake.address, model="fake", k=16, seconds=120, inlineCompletion=True, events=True
        ) as one:
            uri = request["textDocument"]["uri"] = one.open("double.py", stub)
            (action,) = await one.actions(uri, request["position"]["line"])
            assert f"**{action.title}**" in PAGE
            one.expect(request["workDoneToken"])
            result = await one.client.protocol.send_request_async("thresher/solve", request)
            assert one.texts[uri] == stub.replace("    ...", "    return n << 1")
            assert set(result._asdict()) == keys("The answer:")
            candidate = "list of `index`, `samples`, `verdict`, `passed`, `total`, `message`"
            assert list(result.candidates[0]._asdict()) == re.findall(r"`(\w+)`", candidate)
            assert candidate in PAGE
            await until(lambda: one.events and one.events[-1].kind == "ended")
            told = PAGE[PAGE.index("**Notification `thresher/event`**") :]
            assert all(f"`{event.kind}`" in told for event in one.events)
            answer = await one.client.protocol.send_request_async(
                "thresher/candidate", {"id": result.id, "candidate": 0}
            )
            assert set(answer._asdict()) == {"program", "edit", "reason"}


async def test_an_unknown_option_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"params\.samples: unknown"):
        async with editor(tmp_path, None, samples=4):
            pass
