"""Whether kernels run under Triton's interpreter, for tests without a GPU, and what it needs for that.

Kernels whose loops end at a loaded value import this module.
"""

import os
from typing import Any

import torch

INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"


def _let_loaded_values_end_loops() -> None:
    """Triton 3.6 keeps a scalar as an array of one element, which NumPy no longer turns into an integer."""
    from triton.runtime import interpreter

    patch: Any = interpreter._patch_lang_tensor  # pyright: ignore[reportPrivateUsage]

    def patch_with_index(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patch_with_index  # pyright: ignore[reportPrivateUsage]


if INTERPRETING:
    _let_loaded_values_end_loops()


def refuse_bf16_interpreted(dtype: torch.dtype) -> None:
    """ValueError where kernels with matrix products would run under the interpreter in bfloat16."""
    if INTERPRETING and dtype == torch.bfloat16:
        raise ValueError("dtype is bfloat16, whose products Triton's interpreter gets wrong: take float16 or float32")
