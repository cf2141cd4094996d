"""The result of a load test as a document and as a page."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.experiments.experiment import fingerprint
from benchmarks.load.figures import Window, figures, server_figures
from benchmarks.load.run import Ran
from benchmarks.report.page import Bar, Bars, Block, Curve, Curves, Figure, Figures, Page, Table, Text

_NOT_CHECKED = {"agree": None, "why": "the server's metrics endpoint was not named (--metrics)"}
_TENTHS = 10
_LATE = 0.05
"""Seconds that the generator may be late at its 99th percentile; beyond that the page warns."""


def load_result(
    protocol: Mapping[str, Any], ran: Ran, window: Window, slo: float, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """The document of one run."""
    plain = dict(protocol)
    return {
        "experiment": "load",
        "fingerprint": fingerprint(plain),
        "slo_seconds": slo,
        "clients": figures(ran.answers, window, slo),
        "server": None if ran.counted is None else server_figures(ran.counted, ran.seconds),
        "books": _NOT_CHECKED if ran.books is None else ran.books.plain(),
        "generator": {"seconds": round(ran.seconds, 2), "cpu_seconds": round(ran.cpu_seconds, 2)},
        "looks": [asdict(look) for look in ran.looks],
        "protocol": plain,
        "provenance": dict(provenance),
    }


def page_of(result: Mapping[str, Any]) -> Page:
    """The page of a run."""
    clients, server, books = result["clients"], result["server"], result["books"]
    slo = result["slo_seconds"]
    blocks: list[Block] = [_figures(result), *_pictures(clients, slo)]
    if server is not None:
        blocks.append(_waste(server))
    blocks += [_ends(clients), _entries(clients, slo), _times(clients), *_looks(result["looks"]), *_books(books)]
    return Page(
        title="Load test",
        lead=f"{_load_words(result['protocol'])} An answer is in time within {slo:g} s of when its call was due.",
        blocks=tuple(blocks),
        warning=_warning(clients, books),
        protocol=result["protocol"],
        provenance=result["provenance"],
        fingerprint=result["fingerprint"],
    )


def seconds_words(value: float | None) -> str:
    """Seconds as they are shown; a dash where there are none."""
    return "–" if value is None else f"{value:.2f} s" if value < 100 else f"{value:.0f} s"


def share_words(found: Mapping[str, Any]) -> str:
    """A share with its interval."""
    low, high = found["interval_95"]
    return f"{100 * found['share']:.1f} % ({100 * low:.0f} to {100 * high:.0f})"


def _load_words(protocol: Mapping[str, Any]) -> str:
    load, entries = protocol["load"], ", ".join(entry["name"] for entry in protocol["mix"])
    match load["kind"]:
        case "open loop, Poisson":
            asked = f"{load['rate']:g} calls a second (Poisson) for {load['seconds']:g} s"
        case "open loop, ramp":
            asked = f"from {load['first']:g} to {load['last']:g} calls a second in {load['seconds']:g} s"
        case "open loop, trace":
            asked = f"{load['calls']} calls of {load['trace']}, {load['speed']:g} times as fast"
        case _:
            asked = f"{load['users']} users who ask again after {load['think_seconds']:g} s, for {load['seconds']:g} s"
    return f"{asked[0].upper()}{asked[1:]}; the mix: {entries}."


def _warning(clients: Mapping[str, Any], books: Mapping[str, Any]) -> str:
    late = clients["generator_late"]["p99"] or 0.0
    words: list[str] = []
    if books["agree"] is False:
        words.append("The two books do not agree: see below what differs.")
    if late > _LATE:
        words.append(f"The generator itself was late ({late:.2f} s at the 99th percentile); the times count that.")
    return " ".join(words)


def _figures(result: Mapping[str, Any]) -> Figures:
    clients, server = result["clients"], result["server"]
    first, calls = clients["time_to_first_pass"], clients["calls"]
    solved = clients["ends"].get("solved", 0)
    shown = [
        Figure(
            label="goodput",
            value=f"{clients['goodput_per_second']:.3f}/s",
            note=f"problems solved in time; {clients['offered_per_second']:.3f} calls/s offered",
        ),
        Figure(
            label="time to first pass",
            value=seconds_words(first["p50"]),
            note=f"median; p90 {seconds_words(first['p90'])}, p99 {seconds_words(first['p99'])}",
        ),
        Figure(label="answered in time", value=share_words(clients["in_time"]), note="95 % interval"),
        Figure(label="solved", value=f"{solved} of {calls}", note="calls of the window"),
    ]
    if server is not None:
        shown += [
            Figure(
                label="tokens a second",
                value=f"{server['tokens_per_second']:,.0f}",
                note=f"of all samples; {server['rows_per_second']:,.0f} rows/s computed",
            ),
            Figure(
                label="tokens per solved problem",
                value=f"{server['tokens_per_solved_problem'] or 0:,.0f}",
                note=f"{100 * sum(server['wasted_share'].values()):.0f} % came to nothing",
            ),
        ]
    return Figures(figures=tuple(shown))


def _pictures(clients: Mapping[str, Any], slo: float) -> list[Block]:
    found: list[Block] = []
    curves = [
        Curve(name=name, x=tuple(x for x, _ in points), y=tuple(y for _, y in points))
        for name, points in clients["solved_by"].items()
        if points
    ]
    if curves:
        found.append(
            Curves(
                title="Solved by then",
                says="The share of calls whose first passing program had come so many seconds after they were due.",
                x_label="seconds since the call was due",
                y_label="calls solved",
                curves=tuple(curves),
                log_x=True,
            )
        )
    slices = [one for one in clients["slices"] if one["calls"]]
    if len(slices) > 1:
        x = tuple(one["from"] + one["seconds"] / 2 for one in slices)
        found.append(
            Curves(
                title="Over the run",
                says=f"The share of calls that were answered within {slo:g} s, by when they were due.",
                x_label="seconds since the run began",
                y_label="calls",
                curves=(
                    Curve(name="answered in time", x=x, y=tuple(one["in_time"] / one["calls"] for one in slices)),
                    Curve(name="solved in time", x=x, y=tuple(one["solved_in_time"] / one["calls"] for one in slices)),
                ),
            )
        )
    return found


def _waste(server: Mapping[str, Any]) -> Block:
    bars = [
        Bar(name=reason, share=share, text=f"{100 * share:.1f} %, {server['wasted_tokens'][reason]:,}")
        for reason, share in server["wasted_share"].items()
    ]
    if not bars:
        return Text(title="Waste", paragraphs=("No token came to nothing.",))
    return Bars(title="Waste", says="Tokens that came to nothing, as shares of all tokens drawn.", bars=tuple(bars))


def _ends(clients: Mapping[str, Any]) -> Block:
    rows = [(end, str(count)) for end, count in clients["ends"].items()]
    rows += [(f"failed: {reason}", str(count)) for reason, count in clients["refusals"].items()]
    return Table(title="How calls ended", head=("end", "calls"), rows=tuple(rows), align="lr")


def _entries(clients: Mapping[str, Any], slo: float) -> Block:
    rows = tuple(
        (
            name,
            str(one["calls"]),
            str(one["solved"]),
            share_words(one["in_time"]),
            *(seconds_words(one["time_to_first_pass"][p]) for p in ("p50", "p90", "p99")),
        )
        for name, one in clients["by_entry"].items()
    )
    head = ("entry", "calls", "solved", f"in time ({slo:g} s)", "first pass p50", "p90", "p99")
    return Table(title="By entry of the mix", head=head, rows=rows, align="lrrrrrr")


def _times(clients: Mapping[str, Any]) -> Block:
    kinds = {
        "time_to_first_pass": "to the first pass, of the solved",
        "time_to_answer": "to the summary, of the answered",
        "time_to_any_end": "to the end, of all calls",
        "queue": "in the server's queue",
        "generator_late": "the generator was late",
    }
    rows = tuple(
        (words, str(clients[kind]["count"]), *(seconds_words(clients[kind][p]) for p in ("p50", "p90", "p99", "most")))
        for kind, words in kinds.items()
    )
    note = "Counted from when calls were due, whenever they were sent. Calls that were cut short count as they ended."
    return Table(
        title="Times", head=("time", "count", "p50", "p90", "p99", "most"), rows=rows, align="lrrrrr", note=note
    )


def _looks(looks: Sequence[Mapping[str, Any]]) -> list[Block]:
    """The server's own load, in the mean over each tenth of the run."""
    if not looks:
        return []
    width = max(look["at"] for look in looks) / _TENTHS or 1.0
    parts: dict[int, list[Mapping[str, Any]]] = {}
    for look in looks:
        parts.setdefault(min(int(look["at"] / width), _TENTHS - 1), []).append(look)

    def mean(part: list[Mapping[str, Any]], name: str) -> float:
        return sum(look[name] for look in part) / len(part)

    rows = tuple(
        (
            f"{place * width:.0f}",
            *(f"{mean(part, name):.1f}" for name in ("running", "waiting", "rows_per_second", "executor_queue")),
            f"{100 * mean(part, 'kv_cache_usage'):.1f} %",
        )
        for place, part in sorted(parts.items())
    )
    head = ("from second", "solves running", "waiting", "rows/s", "programs waiting", "pages taken")
    note = "As the server says of itself once a second, in the mean."
    return [Table(title="At the server", head=head, rows=rows, align="rrrrrr", note=note)]


def _books(books: Mapping[str, Any]) -> list[Block]:
    if books["agree"] is None:
        return [Text(title="Two books", paragraphs=(f"Not compared: {books['why']}.",))]
    how = "exactly" if books["exact"] else "within what the calls that were left can account for (no server log)"
    told = f"{books['calls']} calls, {books['told']} told to their end, {books['left']} left by their clients"
    if not books["agree"]:
        return [Text(title="Two books: they differ", paragraphs=(f"{told}.", *books["differences"]))]
    rows = tuple((series, f"{ours:,.0f}", f"{theirs:,.0f}") for series, (ours, theirs) in _lines(books))
    return [
        Table(
            title="Two books, equal",
            head=("series", "clients", "server"),
            rows=rows,
            align="lrr",
            note=f"What clients were told and what the server has counted agree {how}: {told}.",
        )
    ]


def _lines(books: Mapping[str, Any]) -> list[tuple[str, tuple[float, float]]]:
    return list(books["clients_and_server"].items())
