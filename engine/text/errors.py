"""Why a model's files cannot be read."""

from pathlib import Path


class ModelFileError(ValueError):
    """A file of a model is damaged, cut short, or not of a kind that can be used. The message begins with its path."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem
