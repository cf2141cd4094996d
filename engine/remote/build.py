"""The executor of a server from its settings: this machine's, or several."""

from engine.config import Settings
from engine.metrics import Metrics
from engine.solving.backing import OwnedExecutor, local_executor


def build_executor(settings: Settings, metrics: Metrics) -> OwnedExecutor:
    """An executor that is not started yet."""
    return local_executor(settings)
