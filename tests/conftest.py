"""Shared set-up of all tests."""

import sys
from pathlib import Path

from hypothesis import settings

# Helpers that several test files share live in tests/support.
sys.path.insert(0, str(Path(__file__).parent))

# An example's time says how busy the machine is, not whether it is right.
settings.register_profile("thresher", deadline=None)
settings.load_profile("thresher")
