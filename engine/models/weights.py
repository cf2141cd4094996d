"""What the loader needs of a model's files, whatever their format."""

from typing import Protocol, Self

import torch

from engine.models.decoder import DecoderConfig


class WeightFiles(Protocol):
    """The open files of one model. Tensors go by llama.cpp's names, rows first, q and k rows in the order of the
    rotation by halves."""

    @property
    def config(self) -> DecoderConfig:
        """The decoder's shape."""
        ...

    def tensor(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """The tensor `name` in memory of its own. ModelCorrupt if it is absent or of another shape than `shape`."""
        ...

    def check_all_taken(self) -> None:
        """UnsupportedModel if the files hold a tensor that nobody asked for: their model is another than ours."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def halves_apart(tensor: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Undo llama.cpp's order of q and k rows (weights or biases): it rotates neighbours (2i, 2i + 1) where we rotate
    (i, i + d / 2)."""
    return tensor.view(-1, head_dim // 2, 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)
