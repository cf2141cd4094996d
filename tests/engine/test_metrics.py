"""What is counted, and that its exposition is clean."""

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families

from engine.metric_words import BRANCH_OUTCOMES, ESCALATIONS, OUTCOMES, PRIORITIES, VERDICTS, WASTE, WASTE_OF
from engine.metrics import Metrics
from engine.solving.events import BranchOutcome, TierReason
from engine.solving.spec import Priority
from engine.solving.summary import Accounting, SolveOutcome
from executor.verdict import Verdict
from tests.support.prometheus import needs_prometheus, promtool


@pytest.fixture
def metrics() -> Metrics:
    made = Metrics()
    made.serve_models(["m"])
    return made


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


COST = Accounting(
    samples_requested=8,
    samples_started=10,
    samples_finished=5,
    samples_pruned=2,
    samples_cut_off=3,
    samples_passed=2,
    candidates_finished=4,
    candidates_executed=3,
    candidates_passed=1,
    prompt_tokens=100,
    cached_prompt_tokens=40,
    generated_tokens=900,
    rows_computed=500,
    rows_saved=400,
    wasted_tokens=60,
    pruned_tokens=25,
    recomputed_tokens=7,
    preemptions=3,
    after_pass_tokens=11,
    candidates_to_first_pass=2,
    drafted_tokens=20,
    accepted_draft_tokens=15,
    time_to_first_pass=1.5,
)


def test_the_words_are_those_of_the_domain() -> None:
    assert set(OUTCOMES) == {*SolveOutcome, "cut_off", "cancelled", "deadline", "error"}
    assert set(VERDICTS) == set(Verdict)
    assert set(PRIORITIES) == set(Priority)
    assert set(BRANCH_OUTCOMES) == set(BranchOutcome)
    assert set(ESCALATIONS) == {*TierReason} - {TierReason.FIRST}
    assert set(WASTE_OF) <= set(OUTCOMES) and set(WASTE_OF.values()) < set(WASTE)


def test_series_of_a_served_model_start_at_zero(metrics: Metrics) -> None:
    assert value(metrics, "thresher_solves_total", model="m", outcome="error", priority="batch") == 0
    assert value(metrics, "thresher_generated_tokens_total", model="m") == 0


def test_a_solve_is_counted_once_with_its_cost(metrics: Metrics) -> None:
    metrics.solve_waiting("m")
    assert value(metrics, "thresher_solves_waiting", model="m") == 1
    metrics.solve_started("m", Priority.BATCH, 0.25)
    assert value(metrics, "thresher_solves_waiting", model="m") == 0
    assert value(metrics, "thresher_solves_running", model="m") == 1
    metrics.solve_ended("m", SolveOutcome.SOLVED, Priority.BATCH, COST, 2.0)
    assert value(metrics, "thresher_solves_running", model="m") == 0
    assert value(metrics, "thresher_solves_total", model="m", outcome="solved", priority="batch") == 1
    assert value(metrics, "thresher_queue_seconds_sum", priority="batch") == 0.25
    assert value(metrics, "thresher_samples_total", model="m", stage="cut_off") == 3
    assert value(metrics, "thresher_samples_total", model="m", stage="pruned") == 2
    assert value(metrics, "thresher_draft_tokens_total", model="m", result="accepted") == 15
    assert value(metrics, "thresher_draft_tokens_total", model="m", result="rejected") == 5
    assert value(metrics, "thresher_candidates_total", model="m", stage="executed") == 3
    assert value(metrics, "thresher_cached_prompt_tokens_total", model="m") == 40
    assert value(metrics, "thresher_wasted_tokens_total", model="m", reason="cut_off") == 35
    assert value(metrics, "thresher_wasted_tokens_total", model="m", reason="pruned") == 25
    assert value(metrics, "thresher_wasted_tokens_total", model="m", reason="preempted") == 7
    assert value(metrics, "thresher_wasted_tokens_total", model="m", reason="after_pass") == 11
    assert value(metrics, "thresher_candidates_to_first_pass_sum", model="m") == 2
    assert value(metrics, "thresher_preemptions_total", model="m") == 3
    assert value(metrics, "thresher_time_to_first_pass_seconds_sum", model="m") == 1.5
    assert value(metrics, "thresher_tokens_per_solved_problem_count", model="m") == 1
    assert value(metrics, "thresher_solve_duration_seconds_sum", model="m", outcome="solved") == 2.0


def test_times_of_a_traced_solve_have_exemplars_for_those_who_ask(metrics: Metrics) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    metrics.solve_waiting("m")
    metrics.solve_started("m", "batch", 0.25, trace_id=trace)
    metrics.first_token("m", 0.5, trace_id=trace)
    metrics.executors.execution(queue_seconds=0.1, startup_seconds=0.1, run_seconds=0.2, trace_id=trace)
    metrics.solve_ended("m", "solved", "batch", COST, 2.0, trace_id=trace)
    named = {
        sample.name.removesuffix("_bucket"): sample.exemplar.labels["trace_id"]
        for family in openmetrics_families(openmetrics.generate_latest(metrics.registry).decode())
        for sample in family.samples
        if sample.exemplar is not None
    }
    assert named == dict.fromkeys(
        (
            "thresher_queue_seconds",
            "thresher_time_to_first_token_seconds",
            "thresher_executor_queue_seconds",
            "thresher_execution_seconds",
            "thresher_time_to_first_pass_seconds",
            "thresher_solve_duration_seconds",
        ),
        trace,
    )
    assert trace not in generate_latest(metrics.registry).decode()


def test_a_solve_cancelled_in_the_queue_is_no_success(metrics: Metrics) -> None:
    metrics.solve_waiting("m")
    metrics.solve_ended("m", "cancelled", "interactive", Accounting(wasted_tokens=3), 0.1, started=False)
    assert value(metrics, "thresher_solves_waiting", model="m") == 0
    assert value(metrics, "thresher_solves_running", model="m") == 0
    assert value(metrics, "thresher_solves_total", model="m", outcome="solved", priority="interactive") == 0
    assert value(metrics, "thresher_wasted_tokens_total", model="m", reason="client_gone") == 3
    assert value(metrics, "thresher_time_to_first_pass_seconds_count", model="m") == 0
    assert value(metrics, "thresher_candidates_to_first_pass_count", model="m") == 0


def test_words_that_are_no_label_are_refused(metrics: Metrics) -> None:
    for call in (
        lambda: metrics.solve_ended("m", "won", "batch", COST, 1.0),
        lambda: metrics.solve_started("m", "urgent", 1.0),
        lambda: metrics.verdict("fine"),
        lambda: metrics.verdict("passed", "hearsay"),
        lambda: metrics.cancel_latency("whim", 1.0),
        lambda: metrics.engine_idle("lunch", 1.0),
        lambda: metrics.branch_ended("m", "bored"),
        lambda: metrics.executors.sandbox_faults("bad luck", 1),
    ):
        with pytest.raises(ValueError, match="no value of this label"):
            call()


def exercise(metrics: Metrics) -> None:
    metrics.solve_waiting("m")
    metrics.solve_started("m", "interactive", 0.1)
    metrics.solve_ended("m", "solved", "interactive", COST, 1.0)
    metrics.branch_ended("m", "cut_off")
    metrics.branch_ended("m", "pruned")
    metrics.verdict("passed")
    metrics.cancel_latency("pass", 0.01)
    metrics.prefix_cache("m", 100, 48)
    metrics.first_token("m", 0.3)
    metrics.step("m", 12, 0.04, 30, [(0.02, 12), (0.3, 2)])
    metrics.step("m", 12, 0.03)
    metrics.engine_state("m", 12, 0.5, 7)
    metrics.engine_idle("waiting_executor", 0.5)
    metrics.executors.pool(busy=1, idle=2, starting=3, queue_depth=4)
    metrics.executors.execution(queue_seconds=0.1, startup_seconds=0.01, run_seconds=0.2)
    metrics.grpc_request("/thresher.v1.SynthesisService/Solve", "OK", 1.0)
    metrics.executors.sandbox_faults("kill_alarm", 1)
    metrics.event_loop_lag(0.001)
    metrics.build(version="0.1.0", torch="2.11.0", triton="", device="cpu")


def test_gauges_and_steps(metrics: Metrics) -> None:
    exercise(metrics)
    assert value(metrics, "thresher_batch_rows", model="m") == 12
    metrics.engine_state("m", 0, 0.5, 7)
    assert value(metrics, "thresher_batch_rows", model="m") == 0, "nothing is left that a step could be for"
    assert value(metrics, "thresher_rows_computed_total", model="m") == 24
    assert value(metrics, "thresher_step_seconds_count", model="m") == 2
    assert value(metrics, "thresher_prefill_seconds_count", model="m") == 1, "only steps with tokens of prompts"
    assert value(metrics, "thresher_prefill_seconds_sum", model="m") == 0.04
    assert value(metrics, "thresher_inter_token_seconds_count", model="m") == 14
    assert value(metrics, "thresher_inter_token_seconds_bucket", model="m", le="0.025") == 12
    assert value(metrics, "thresher_time_to_first_token_seconds_sum", model="m") == 0.3
    assert value(metrics, "thresher_prefix_cache_queries_total", model="m") == 100
    assert value(metrics, "thresher_prefix_cache_hits_total", model="m") == 48
    assert value(metrics, "thresher_kv_cache_usage_ratio", model="m") == 0.5
    assert value(metrics, "thresher_kv_pages_shared", model="m") == 7
    assert value(metrics, "thresher_executor_slots", state="starting") == 3
    assert value(metrics, "thresher_executor_queue_depth") == 4
    assert value(metrics, "thresher_build_info", version="0.1.0", torch="2.11.0", triton="", device="cpu") == 1


def test_every_metric_is_told_of(metrics: Metrics) -> None:
    exercise(metrics)
    metrics.executors.serve(["local"])
    kinds = {family.name: family.type for family in metrics.registry.collect()}
    suffixes = {"counter": "_total", "info": "_info"}
    told = {family.name.removesuffix(suffixes.get(family.kind, "")): family.kind for family in metrics.families}
    assert told == kinds
    labels = {family.name: set(family.labels) for family in metrics.families}
    for family in metrics.registry.collect():
        for sample in family.samples:
            name = next(name for name in (sample.name, sample.name.rpartition("_")[0]) if name in labels)
            assert labels[name] == set(sample.labels) - {"le"}, name


def test_names_keep_the_conventions(metrics: Metrics) -> None:
    exercise(metrics)
    for family in metrics.registry.collect():
        assert family.name.startswith("thresher_")
        assert ":" not in family.name
        assert family.documentation.endswith(".")
        for sample in family.samples:
            assert not sample.name.endswith("_created")


def test_two_servers_in_one_process_do_not_share_numbers() -> None:
    one, two = Metrics(), Metrics()
    one.verdict("passed")
    assert value(two, "thresher_verdicts_total", verdict="passed", source="sampled") == 0


@needs_prometheus
def test_promtool_finds_nothing_to_say(metrics: Metrics) -> None:
    exercise(metrics)
    text = generate_latest(metrics.registry)
    assert promtool("check", "metrics", given=text) == (0, "")


def test_several_executors_are_told_apart(metrics: Metrics) -> None:
    metrics.executors.serve(["local", "h:1"])
    assert value(metrics, "thresher_executor_programs_total", executor="h:1", end="lost") == 0
    metrics.executors.state("h:1", up=True, outstanding=3)
    metrics.executors.ended("h:1", "judged")
    assert value(metrics, "thresher_executor_up", executor="h:1") == 1
    assert value(metrics, "thresher_executor_up", executor="local") == 0
    assert value(metrics, "thresher_executor_outstanding", executor="h:1") == 3
    assert value(metrics, "thresher_executor_programs_total", executor="h:1", end="judged") == 1
    with pytest.raises(ValueError, match="vanished"):
        metrics.executors.ended("h:1", "vanished")
