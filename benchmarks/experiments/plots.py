"""Plots that several experiments share."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.report.page import Curve, Curves

_TABLE = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)

_BANDS = 3
"""So many bands can be told apart."""


def pass_curves(title: str, arms: Mapping[str, Sequence[Mapping[str, Any]]], fit: Curve | None = None) -> Curves:
    """pass@k over k with its band, for each arm; points as `scoring.sampled` has them, `fit` dashed beside them."""
    curves = [
        Curve(
            name=name,
            x=tuple(float(point["k"]) for point in points),
            y=tuple(point["value"] for point in points),
            low=tuple(point["interval_95"][0] for point in points),
            high=tuple(point["interval_95"][1] for point in points),
        )
        for name, points in arms.items()
    ]
    says = f"The share of problems that k samples solve: {_ends(curves[0])}."
    if len(curves) > 1:
        first, last = (max(curves, key=lambda curve: curve.y[place]) for place in (0, -1))
        says = (
            f"The share of problems that k samples solve. With one sample the best is {first.name} "
            f"({100 * first.y[0]:.1f} %), with {last.x[-1]:.0f} it is {last.name} ({100 * last.y[-1]:.1f} %)."
        )
    crowded = len(curves) > _BANDS
    bands = "95 % bootstrap intervals over problems, 10,000 resamples"
    shown = {x for curve in curves for x in curve.x}
    return Curves(
        title=title,
        says=says,
        x_label="samples, k",
        y_label="problems solved",
        curves=tuple(curves if fit is None else [*curves, fit]),
        log_x=True,
        at=tuple(float(k) for k in _TABLE if k in shown),
        crowded=crowded,
        note=f"The numbers have the {bands}. The axis may begin above 0." if crowded else f"Bands: {bands}.",
    )


def _ends(curve: Curve) -> str:
    first, last = f"{100 * curve.y[0]:.1f} %", f"{100 * curve.y[-1]:.1f} %"
    return f"{first} with one sample" + (f" and {last} with {curve.x[-1]:.0f}" if len(curve.x) > 1 else "")
