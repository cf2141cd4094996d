"""What the engine tells is what the front hears: every kind of event, in its order, through bytes."""

from dataclasses import fields
from typing import Any, get_args, get_type_hints

from hypothesis import given
from hypothesis import strategies as st

from engine.core.types import CoreEvent, Counts, EndReason, Filters, FinishReason, Mode
from engine.loop.messages import LENGTH, Completion, StepReport, Submit, enveloped, frame, from_engine, to_engine


def report(events: list[CoreEvent]) -> StepReport:
    return StepReport(
        told=enveloped(events),
        rows=3,
        prefill_tokens=0,
        seconds=0.5,
        overhead_seconds=0.25,
        idle_seconds=0.0,
        waiting=1,
        running=2,
        branches=3,
        kv_usage=0.5,
        pages_shared=4,
    )


NUMBER = st.integers(0, 2**63 - 1)
OF_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    int: NUMBER,
    int | None: st.none() | NUMBER,
    str: st.text(max_size=5),
    float: st.floats(allow_nan=False),
    tuple[int, ...]: st.lists(NUMBER, max_size=3).map(tuple),
    FinishReason: st.sampled_from(FinishReason),
    EndReason: st.sampled_from(EndReason),
}
OF_TYPE[Counts] = st.builds(Counts, **{field.name: NUMBER for field in fields(Counts)})


def any_of(kind: type[CoreEvent]) -> st.SearchStrategy[CoreEvent]:
    return st.builds(kind, **{name: OF_TYPE[hint] for name, hint in get_type_hints(kind).items()})


@given(st.lists(st.one_of([any_of(kind) for kind in get_args(CoreEvent)]), max_size=12))
def test_events_keep_their_kinds_and_their_order(events: list[CoreEvent]) -> None:
    found = from_engine.decode(frame(report(events))[LENGTH.size :])
    assert isinstance(found, StepReport)
    assert found.events == events
    assert [type(event) for event in found.events] == [type(event) for event in events]


def test_filters_of_a_solve_arrive() -> None:
    filters = (Filters(temperature=0.0), Filters(temperature=1.5, top_k=3, top_p=0.5, min_p=0.25))
    asked = Submit(
        solve=1,
        prompts=(Completion("x", part_of_program=False),),
        k=2,
        mode=Mode.DISTINCT,
        filters=filters,
        length_penalty=1.0,
        seed=1,
        max_new_tokens=None,
        stop=(),
        end_at_program=False,
        entry_point=None,
        prune=False,
        constraint=None,
        greedy_first=False,
        width=None,
        max_rows=None,
        max_tokens=None,
        interactive=True,
        delta_seconds=None,
        client="",
        seconds_left=None,
        first_pass=False,
        judges=1,
    )
    assert to_engine.decode(frame(asked)[LENGTH.size :]) == asked
