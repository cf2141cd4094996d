"""One executor for a test module. A test that needs a jail fails where there is none: it never skips."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from executor import Executor, ExecutorConfig, Mode


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=[Mode.JAIL, pytest.param(Mode.FORK_SERVER, marks=pytest.mark.slow)],
)
async def executor(request: pytest.FixtureRequest) -> AsyncIterator[Executor]:
    """Shared by the tests of a module; each run has jails of its own anyway. Both ways of making them must do."""
    if request.param is Mode.FORK_SERVER and os.geteuid() != 0:
        pytest.skip("the fork server needs root")
    async with Executor(ExecutorConfig(mode=request.param, slots=2, warm=2)) as running:
        yield running


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with the public problem sets."""
    path = os.environ.get("THRESHER_DATA")
    if not path or not Path(path).is_dir():
        pytest.skip("THRESHER_DATA does not name the folder with the problem sets")
    return Path(path)
