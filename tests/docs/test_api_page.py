"""docs/api.md is what scripts/api_page.py writes, and its links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

from thresher.v1 import (
    execution_service_pb2,
    info_service_pb2,
    problem_pb2,
    solve_pb2,
    synthesis_service_pb2,
    verdict_pb2,
)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def test_it_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/api_page.py", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_it_has_every_message_enum_and_field() -> None:
    headings = set(re.findall(r"^#{2,3} (\w+)$", PAGE, re.MULTILINE))
    files = (execution_service_pb2, info_service_pb2, problem_pb2, solve_pb2, synthesis_service_pb2, verdict_pb2)
    for file in files:
        described = file.DESCRIPTOR
        assert {*described.message_types_by_name, *described.enum_types_by_name} <= headings
        assert set(described.services_by_name) <= headings
        for message in described.message_types_by_name.values():
            section = PAGE.partition(f"### {message.name}\n")[2].partition("\n### ")[0]
            assert [field.name for field in message.fields if f"| `{field.name}` |" not in section] == []
    links = set(re.findall(r"\]\(#(\w+)\)", PAGE))
    assert links <= {heading.lower() for heading in headings}
