"""Homes of jails: taken, given back, and removed after a crowd, so that nothing grows with the peak."""

import os
from pathlib import Path

import pytest

from executor.cgroup import Forest, Hierarchy, Layout
from executor.errors import JailError
from executor.homes import JAILS_PER_PROCESS, Homes, _free_numbers  # pyright: ignore


@pytest.fixture
def forest(tmp_path: Path) -> Forest:
    forest = Forest(Layout({"kill": Hierarchy(2, tmp_path)}))
    forest.open()
    return forest


def own_folder(parent: Path) -> Path:
    return next(parent.glob("thresher.*"))


async def test_after_a_crowd_the_spare_ones_stay_and_the_others_go(forest: Forest, tmp_path: Path) -> None:
    free = len(_free_numbers)
    homes = Homes(forest, kept=3)
    homes.prepare()
    folder = own_folder(tmp_path)
    assert len(os.listdir(folder)) == 3
    for _ in range(3):
        crowd = [homes.take() for _ in range(10)]
        assert len({home.number for home in crowd}) == 10
        assert len(os.listdir(folder)) == 10
        for home in crowd:
            homes.give_back(home)
        assert len(os.listdir(folder)) == 3
        assert len(_free_numbers) == free - 3
    await homes.remove()
    assert (os.listdir(folder), len(_free_numbers), homes.leaked) == ([], free, 0)


async def test_a_home_that_cannot_be_made_new_is_counted_and_not_used_again(forest: Forest) -> None:
    homes = Homes(forest, kept=2)
    first = homes.take()
    blocked = first.group.folders[0] / "process"
    blocked.mkdir()
    homes.give_back(first)
    assert homes.leaked == 1
    assert homes.take().number != first.number
    blocked.rmdir()
    _free_numbers.append(first.number)


async def test_too_many_jails_are_refused_by_number(forest: Forest) -> None:
    homes = Homes(forest, kept=2)
    free = len(_free_numbers)
    taken = [homes.take() for _ in range(free)]
    with pytest.raises(JailError, match=f"{JAILS_PER_PROCESS} jails are live"):
        homes.take()
    for home in taken:
        homes.give_back(home)
    await homes.remove()
    assert len(_free_numbers) == free
