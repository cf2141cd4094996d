"""What a solve came to and what it cost, in words: `thresher solve`, notebooks and scripts show the same."""

import html
from dataclasses import dataclass

from thresher.client.plain import enum_word
from thresher.v1 import solve_pb2, verdict_pb2


def winner(summary: solve_pb2.Summary) -> solve_pb2.Candidate | None:
    """The program to hand out: the first candidate that passed; None where none did."""
    passed = (one for one in summary.candidates if one.report.verdict == verdict_pb2.VERDICT_PASSED)
    return next(passed, None)


@dataclass(frozen=True, slots=True, repr=False)
class Cost:
    """What a solve cost, for a reader: as text, and as a table in a notebook. The figures are `summary.accounting`."""

    summary: solve_pb2.Summary

    @property
    def rows(self) -> list[tuple[str, str]]:
        """What is counted, and how much: samples are draws, rows are what the model really computed."""
        cost = self.summary.accounting
        first_pass = "none passed"
        if cost.HasField("time_to_first_pass"):
            first_pass = f"{cost.time_to_first_pass.ToTimedelta().total_seconds():.2f} s"
        rows = [("time to first pass", first_pass)]
        best = winner(self.summary)
        if best is not None and best.HasField("held_out"):
            rows.append(("held-out tests", f"{best.held_out.tests_passed} of {best.held_out.tests_total} passed"))
        executed = f"{cost.candidates_executed} executed, {cost.candidates_passed} passed"
        pruned = f", {cost.samples_pruned} given up" if cost.samples_pruned else ""
        samples = f"{cost.samples_requested} asked for, {cost.samples_finished} complete, {cost.samples_passed} of them"
        saved = f" ({_percent(cost.rows_saved, cost.generated_tokens)})" if cost.generated_tokens else ""
        rows += [
            ("candidates", f"{cost.candidates_finished} distinct, {executed}"),
            ("samples", f"{samples} passed, {cost.samples_cut_off} cut off{pruned}"),
            ("prompt", f"{cost.prompt_tokens} tokens, {cost.cached_prompt_tokens} of them cached"),
            ("tokens drawn", f"{cost.generated_tokens} over all samples"),
            ("rows computed", f"{cost.rows_computed}"),
            ("rows saved", f"{cost.rows_saved}{saved}"),
        ]
        if self.summary.HasField("expected_draws"):
            rows.append(("draws until a pass", f"{self.summary.expected_draws:.1f} expected"))
        if cost.drafted_tokens:
            right = _percent(cost.accepted_draft_tokens, cost.drafted_tokens)
            guessed = f"{cost.drafted_tokens}, {cost.accepted_draft_tokens} right ({right})"
            rows.append(("tokens guessed ahead", guessed))
        rows += [("tokens cut off", f"{cost.wasted_tokens}"), ("seed", f"{self.summary.seed}")]
        return rows + [(f"tier {tier.name}", _tier_words(tier)) for tier in self.summary.tiers]

    def __repr__(self) -> str:
        rows = self.rows
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {words}" for name, words in rows)

    def _repr_html_(self) -> str:
        cells = [(html.escape(name), html.escape(words)) for name, words in self.rows]
        rows = "".join(f"<tr><th>{name}</th><td>{words}</td></tr>" for name, words in cells)
        return f"<table><tbody>{rows}</tbody></table>"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %"


def _tier_words(tier: solve_pb2.TierCost) -> str:
    cost = tier.accounting
    words = [
        enum_word(solve_pb2.TierOutcome.DESCRIPTOR, tier.outcome).replace("_", " "),
        f"{cost.samples_finished} samples complete",
        f"{cost.generated_tokens} tokens{' at least' if tier.partial else ''}",
        *([f"price {tier.price:.4g}"] if tier.HasField("price") else []),
    ]
    return ", ".join(words) + (f" ({tier.detail})" if tier.detail else "")
