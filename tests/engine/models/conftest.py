"""Before torch is loaded: its threads yield the processor while they wait, so that a busy machine slows the tests by
its load and not a hundredfold."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
