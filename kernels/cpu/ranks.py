"""Candidates of a row in the order of their probability: a heap of their numbers."""

from typing import Any

from kernels.cpu.launch import jit


@jit
def before(logits: Any, a: int, b: int) -> bool:
    """Whether candidate `a` comes before `b`: more probable, or as probable with the lower number."""
    return logits[a] > logits[b] or (logits[a] == logits[b] and a < b)


@jit
def sift(heap: Any, size: int, place: int, logits: Any) -> None:
    """Let what is at `place` of a heap of `size` numbers sink to where it belongs."""
    moved = heap[place]
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        if below + 1 < size and before(logits, heap[below + 1], heap[below]):
            below += 1
        if not before(logits, heap[below], moved):
            break
        heap[place] = heap[below]
        place = below
    heap[place] = moved


@jit
def wanted(numbers: Any, low: Any, high: Any) -> bool:
    """Whether one of the numbers lies in [low, high)."""
    found = False
    for i in range(len(numbers)):
        found |= low <= numbers[i] < high
    return found
