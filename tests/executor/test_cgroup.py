"""Choosing hierarchies and driving groups, on simulated trees (pure v2, v1, hybrid, read-only, delegated)."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from executor.cgroup import Forest, Hierarchy, Layout, detect
from executor.group import Group


def tree(root: Path, *files: str) -> Path:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return root


def second(root: Path, controllers: str = "cpuset cpu io memory pids") -> Path:
    tree(root, "cgroup.procs", "cgroup.subtree_control")
    (root / "cgroup.controllers").write_text(controllers)
    return root


def mounts(*lines: tuple[str, Path, str]) -> str:
    return "".join(f"x {path} {kind} {options} 0 0\n" for kind, path, options in lines)


def test_pure_v2_at_the_root(tmp_path: Path) -> None:
    root = second(tmp_path)
    layout = detect("auto", mounts(("cgroup2", root, "rw")), "0::/\n")
    assert (layout.backend, layout.weaknesses) == ("v2", ())
    assert layout.folders == (root,)
    assert (root / "cgroup.subtree_control").read_text() == "+memory +pids"


def test_v2_delegated_below(tmp_path: Path) -> None:
    second(tmp_path)
    mine = second(tmp_path / "user.slice" / "app")
    layout = detect("auto", mounts(("cgroup2", tmp_path, "rw")), "0::/user.slice/app\n")
    assert layout.folders == (mine,)
    assert layout.backend == "v2"


def test_v2_without_controllers_only_kills_and_measures(tmp_path: Path) -> None:
    layout = detect("auto", mounts(("cgroup2", second(tmp_path, ""), "rw")), "0::/\n")
    assert layout.backend == "partial"
    assert layout.weaknesses == ("memory-per-process", "processes-per-user")


def hybrid(tmp_path: Path) -> str:
    folders = {name: tree(tmp_path / name, "cgroup.procs") for name in ("memory", "pids", "cpuacct", "freezer")}
    return mounts(
        ("cgroup2", second(tmp_path / "unified", ""), "rw"),
        *(("cgroup", folder, f"rw,{name}") for name, folder in folders.items()),
    )


def test_hybrid(tmp_path: Path) -> None:
    layout = detect("auto", hybrid(tmp_path), "4:memory:/x\n0::/\n")
    assert (layout.backend, layout.weaknesses) == ("hybrid", ())
    assert {job: h.version for job, h in layout.jobs.items()} == {"memory": 1, "pids": 1, "cpu": 2, "kill": 2}


def test_v1_on_request(tmp_path: Path) -> None:
    layout = detect("v1", hybrid(tmp_path), "0::/\n")
    assert layout.backend == "v1"
    assert layout.jobs["kill"].folder.name == "freezer"


@pytest.mark.parametrize("want", ["none", "v2"])
def test_what_is_not_there_is_a_weakness(tmp_path: Path, want: str) -> None:
    layout = detect(want, mounts(("cgroup2", second(tmp_path), "ro")), "0::/\n")
    assert layout.backend == "none"
    assert set(layout.weaknesses) == {"memory-per-process", "processes-per-user", "cpu-per-process", "kill-by-init"}


def test_an_unknown_back_end_is_refused() -> None:
    with pytest.raises(ValueError, match="take auto"):
        detect("v3")


def test_a_v2_group_writes_its_limits_and_reads_its_counters(tmp_path: Path) -> None:
    tree(tmp_path, "memory.swap.max", "cgroup.kill")
    (tmp_path / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    (tmp_path / "memory.events").write_text("low 0\nmax 3\noom 2\noom_kill 2\noom_group_kill 0\n")
    (tmp_path / "memory.peak").write_text("4096\n")
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    (tmp_path / "cgroup.procs").write_text("12\n13\n")
    group = Group(
        dict.fromkeys(("memory", "pids", "cpu", "kill"), tmp_path), dict.fromkeys(("memory", "pids", "cpu", "kill"), 2)
    )
    group.limit(1 << 28, 34)
    assert (tmp_path / "memory.max").read_text() == str(1 << 28)
    assert (tmp_path / "memory.swap.max").read_text() == "0"
    assert (tmp_path / "pids.max").read_text() == "34"
    assert group.cpu_seconds() == 1.5
    assert group.oom_kills() == 2
    assert group.peak_bytes() == 4096
    assert group.populated() and group.pids() == [12, 13]
    group.kill()
    assert (tmp_path / "cgroup.kill").read_text() == "1"
    (tmp_path / "cgroup.events").write_text("populated 0\nfrozen 0\n")
    assert not group.populated()


def test_waiting_for_a_core(tmp_path: Path) -> None:
    group = Group({"cpu": tmp_path}, {"cpu": 2})
    assert group.starved_seconds() == 0  # a kernel without pressure accounts
    (tmp_path / "cpu.pressure").write_text(
        "some avg10=1.00 avg60=0.50 avg300=0.00 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
    )
    assert group.starved_seconds() == 2.5
    assert Group({"cpu": tmp_path}, {"cpu": 1}).starved_seconds() == 0


def test_a_group_without_hierarchies_says_so() -> None:
    group = Group({}, {})
    group.limit(1, 1)
    group.kill()
    assert (group.cpu_seconds(), group.peak_bytes(), group.oom_kills(), group.populated()) == (None, None, 0, False)


def test_a_locked_folder_is_left_alone_and_an_orphan_is_removed(tmp_path: Path) -> None:
    layout = Layout({"kill": Hierarchy(2, tmp_path)})
    living = Forest(layout)
    living.open()
    (tmp_path / "thresher.999999.0" / "j0").mkdir(parents=True)
    other = Forest(layout)
    other.open()
    assert not (tmp_path / "thresher.999999.0").exists()
    assert len(list(tmp_path.glob("thresher.*"))) == 2
    for forest in (living, other):
        forest.close()
        assert forest.leaked == 0
    assert not list(tmp_path.glob("thresher.*"))


def test_executors_that_start_at_the_same_time_do_not_take_each_others_folders(tmp_path: Path) -> None:
    layout = Layout({"kill": Hierarchy(2, tmp_path)})
    together = threading.Barrier(4)

    def live(number: int) -> int:
        leaked = 0
        for life in range(150):
            if number == 0:  # what a crashed one left, for all of them to find
                (tmp_path / "made" / "j0").mkdir(parents=True)
                (tmp_path / "made").rename(tmp_path / f"thresher.999999.{life}")
            together.wait(60)
            forest = Forest(layout)
            forest.open()
            forest.group("j0")
            forest.close()
            leaked += forest.leaked
        return leaked

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(live, range(4))) == 0
    Forest(layout).open()
    assert len(list(tmp_path.glob("thresher.*"))) == 1


def test_a_stale_folder_that_resists_does_not_keep_an_executor_from_starting(tmp_path: Path) -> None:
    tree(tmp_path / "thresher.999999.0" / "j0", "stuck/file")
    forest = Forest(Layout({"kill": Hierarchy(2, tmp_path)}))
    forest.open()
    forest.close()
    assert forest.leaked == 0
    assert [path.name for path in tmp_path.glob("thresher.*")] == ["thresher.999999.0"]


def test_a_folder_that_cannot_be_removed_is_counted(tmp_path: Path) -> None:
    forest = Forest(Layout({"kill": Hierarchy(2, tmp_path)}))
    forest.open()
    group = forest.group("j0")
    tree(group.folders[0], "stuck/file")
    forest.close()
    assert forest.leaked == 1
