"""Shared set-up of all tests."""

import sys
from pathlib import Path

# Helpers that several test files share live in tests/support.
sys.path.insert(0, str(Path(__file__).parent))
