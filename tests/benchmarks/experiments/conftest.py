"""What several tests of experiments share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with the public problem sets."""
    path = os.environ.get("THRESHER_DATA")
    if not path or not Path(path).is_dir():
        pytest.skip("THRESHER_DATA does not name the folder with the problem sets")
    return Path(path)
