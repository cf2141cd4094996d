"""What the control groups of this process leave it, from files as Linux writes them."""

from pathlib import Path

import pytest

from engine.solving.control_groups import ControlGroups


def groups(root: Path, own: str | None, files: dict[str, str]) -> ControlGroups:
    """Those of a machine with these files; `own` is what /proc/self/cgroup says."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    if own is not None:
        (root / "own").write_text(f"{own}\n")
    return ControlGroups(root, root / "own")


def memory(found: ControlGroups) -> int | None:
    return found.limit("memory", "memory.max", "memory.limit_in_bytes")


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        pytest.param("0::/", {"memory.max": "300"}, 300, id="a container's own root"),
        pytest.param("0::/", {}, None, id="the machine's root has no limit"),
        pytest.param("0::/a.slice/b.service", {"a.slice/b.service/memory.max": "300"}, 300, id="its own group"),
        pytest.param(
            "0::/a/b/c",
            {"a/memory.max": "200", "a/b/memory.max": "max", "a/b/c/memory.max": "300", "other/memory.max": "1"},
            200,
            id="a group around it has the smallest, and others say nothing",
        ),
        pytest.param(
            "0::/a/b", {"a/memory.max": "300", "a/b/memory.max": "200"}, 200, id="its own group has the smallest"
        ),
        pytest.param("0::/docker/1234", {"memory.max": "300"}, 300, id="the path is the host's"),
        pytest.param("0::/../other", {"memory.max": "300", "other/memory.max": "1"}, 300, id="it is outside"),
        pytest.param("0::/a/b", {"a/memory.max": "max", "a/b/memory.max": "max"}, None, id="no limit"),
        pytest.param(None, {"memory.max": "300"}, 300, id="no /proc"),
        pytest.param(
            "12:cpu,cpuacct:/x\n4:memory:/a/b\n1:name=systemd:/a",
            {"memory/a/memory.limit_in_bytes": "200", "memory/a/b/memory.limit_in_bytes": "300"},
            200,
            id="v1",
        ),
        pytest.param("4:memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None, id="v1 without"),
        pytest.param(
            "4:memory:/a\n0::/b",
            {"memory/a/memory.limit_in_bytes": "300", "unified/b/memory.max": "200"},
            200,
            id="v1 and v2 beside it",
        ),
    ],
)
def test_the_smallest_limit_from_its_own_group_up_counts(
    own: str | None, files: dict[str, str], limit: int | None, tmp_path: Path
) -> None:
    assert memory(groups(tmp_path, own, files)) == limit


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/a/b", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, 1.5),
        ("0::/a/b", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
        ("0::/a", {"a/cpu.max": "max 100000"}, None),
        ("3:cpu,cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "50000", "cpu/a/cpu.cfs_period_us": "100000"}, 0.5),
        ("3:cpu,cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, None),
        ("0::/", {}, None),
    ],
)
def test_the_smallest_quota_from_its_own_group_up_counts(
    own: str, files: dict[str, str], cores: float | None, tmp_path: Path
) -> None:
    assert groups(tmp_path, own, files).cores() == cores


def test_those_of_this_machine_can_be_read() -> None:
    found = ControlGroups()
    assert (memory(found) or 1 << 60) > 1 << 20
    assert (found.cores() or 1.0) > 0
