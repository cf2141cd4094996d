"""A page with a block of every kind, and texts that would break out if they were not escaped."""

from benchmarks.report.page import (
    Bar,
    Bars,
    Curve,
    Curves,
    Figure,
    Figures,
    Page,
    ProblemRow,
    ProblemTable,
    Strips,
    Table,
    Text,
)

NASTY = '<script>alert("&")</script>'
CURVES = Curves(
    title="Coverage",
    says="It rises.",
    x_label="samples, k",
    y_label="problems solved",
    log_x=True,
    curves=(
        Curve(name="one", x=(1, 10, 100), y=(0.1, 0.3, 0.6), low=(0.05, 0.2, 0.5), high=(0.2, 0.4, 0.7)),
        Curve(name="two", x=(1, 10, 100), y=(0.12, 0.28, 0.59)),
        Curve(name="a fit", x=(1, 100), y=(0.1, 0.6), dashed=True),
    ),
    note="Bands.",
)
PAGE = Page(
    title=f"A page {NASTY}",
    lead=f"A lead {NASTY}",
    blocks=(
        Figures(figures=(Figure(label="pass@1", value="31.2 %", note="95 % interval 27.0 to 35.5"),)),
        CURVES,
        Bars(
            title="Verdicts",
            says="Most fail.",
            bars=(
                Bar(name="passed", share=0.25, text="25", low=0.2, high=0.3, verdict="passed"),
                Bar(name=NASTY, share=0.0, text="0"),
            ),
        ),
        Strips(
            title="Problem by problem",
            says="Half are solved.",
            rows=(("one", (1.0, 0.5, 0.0, None)), (NASTY, (0.0, 0.0, 0.02, 0.99))),
            columns=("a", "b", "c", "d"),
        ),
        Text(title="Words", paragraphs=("First.", NASTY)),
        Table(title="A table", head=("x", NASTY), rows=(("1", "2"), ("3", NASTY)), align="lr", note="A note."),
        ProblemTable(
            title="All problems",
            arms=("one", "two"),
            rows=(
                ProblemRow(id="p/1", verdicts=({"passed": 3, "time_limit": 1}, {"wrong_answer": 4})),
                ProblemRow(id=NASTY, verdicts=({"odd_verdict": 4}, {})),
            ),
        ),
    ),
    protocol={"ks": [1, 10], "arms": [{"name": "one", "sampling": {"stop": ["\ndef", NASTY]}}], "deep": {"flag": True}},
    provenance={"date": "2026-11-27T22:47:44+00:00", "command": "thresher bench x"},
    fingerprint="f" * 64,
)
