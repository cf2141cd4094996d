"""What is counted, and under which name. One process owns the registry; workers send their numbers over their pipes.

Names carry the prefix `thresher_`, base units and no colon. Every label has a small closed set of values: models that
are served, and the words of metric_words.py; another word is a fault of the caller and raises ValueError. Outcomes are
counted, not signals, and `cancelled` is never a success. docs/metrics.md lists all of them.
"""

from collections.abc import Iterable, Sequence

from engine.executor_metrics import ExecutorMetrics
from engine.metric_families import Families, exemplar
from engine.metric_words import (
    BRANCH_OUTCOMES,
    CANCEL_PHASES,
    COUNTS,
    DRAFT_RESULTS,
    ESCALATIONS,
    FIRST_TOKEN_SECONDS,
    IDLE_CAUSES,
    OUTCOMES,
    PRIORITIES,
    SECONDS,
    SECONDS_LONG,
    SECONDS_SHORT,
    SOURCES,
    TOKEN_SECONDS,
    TOKENS,
    VERDICTS,
    WASTE,
    WASTE_OF,
    one_of,
)
from engine.solve_cost import SolveCost


class Metrics:
    """All metrics of one server.

    Calls of solving and the engine's front, all cheap and thread-safe; times in seconds, intervals never absolute:

    - `serve_models(names)`: once, when the models are known, so that their series start at zero
    - `solve_waiting(model)` then either `solve_started(model, priority, queue_seconds)` or straight to
      `solve_ended(model, outcome, priority, cost, seconds, started=False)`; every solve ends exactly once
    - `solve_ended(model, outcome, priority, cost, seconds, started=True)`: takes samples, programs, tokens from `cost`
    - `branch_ended(model, outcome)`, `verdict(verdict, source)`, `cancel_latency(phase, seconds)`
    - `prefix_cache(model, queries, hits)`, `first_token(model, seconds)`: as a solve begins
    - `step(model, rows, seconds, prefill_tokens, token_gaps)`: one engine step with its decode rows;
      `device(model, seconds, waited)`; `kv_pages(model, pages)` once, `engine_state(model, branches, usage,
      pages_shared)`; `engine_idle(cause, seconds)`
    - those of the executor: `executors`
    - with a cascade: `serve_tiers(names)` once, then `escalated(before, tier, reason)`
    - `build(version, torch, triton, device)`: once

    Times of a solve whose spans are kept carry its trace id as an exemplar, which only a scraper that asks for
    OpenMetrics gets to see.
    """

    def __init__(self) -> None:
        families = Families()
        self.registry, self.families = families.registry, families.told
        counter, gauge, histogram = families.counter, families.gauge, families.histogram

        self._solves = counter("solves_total", "Solves that ended.", "model", "outcome", "priority")
        self._running = gauge("solves_running", "Solves whose samples are being drawn or judged.", "model")
        self._waiting = gauge("solves_waiting", "Solves in the admission queue.", "model")
        self._samples = counter("samples_total", "Samples of ended solves by the stage they reached.", "model", "stage")
        self._candidates = counter("candidates_total", "Distinct programs of ended solves by stage.", "model", "stage")
        self._branches = counter("branches_total", "Branches that ended.", "model", "outcome")
        self._verdicts = counter("verdicts_total", "Programs judged.", "verdict", "source")
        self._prompt = counter("prompt_tokens_total", "Prompt tokens of ended solves.", "model")
        self._cached = counter("cached_prompt_tokens_total", "Prompt tokens that needed no prefill.", "model")
        self._generated = counter(
            "generated_tokens_total", "Tokens of all samples: what separate draws would have cost.", "model"
        )
        self._rows = counter("rows_computed_total", "Decode rows the model really ran.", "model")
        self._rows_saved = counter("rows_saved_total", "Generated tokens that needed no row of their own.", "model")
        self._preemptions = counter(
            "preemptions_total", "Branches that lost their pages to others and were computed again.", "model"
        )
        self._wasted = counter(
            "wasted_tokens_total",
            "Tokens of samples that came to nothing; preempted: computed again for lack of pages.",
            "model",
            "reason",
        )
        self._drafted = counter("draft_tokens_total", "Tokens guessed ahead of the model.", "model", "result")
        self._first_pass = histogram(
            "time_to_first_pass_seconds", "From acceptance to the first passed candidate.", SECONDS_LONG, "model"
        )
        self._duration = histogram(
            "solve_duration_seconds", "From acceptance to the end of a solve.", SECONDS_LONG, "model", "outcome"
        )
        self._tokens_per_solved = histogram(
            "tokens_per_solved_problem", "Generated tokens of each solved problem.", TOKENS, "model"
        )
        self._candidates_to_pass = histogram(
            "candidates_to_first_pass",
            "Programs judged until one passed, that one included: pass@k as it comes in production.",
            COUNTS,
            "model",
        )
        self._queue = histogram("queue_seconds", "Wait in the admission queue.", SECONDS, "priority")
        self._first_token = histogram(
            "time_to_first_token_seconds",
            "From a solve's arrival at the engine until its first token can be drawn.",
            FIRST_TOKEN_SECONDS,
            "model",
        )
        self._between_tokens = histogram(
            "inter_token_seconds", "From one token of a branch to its next.", TOKEN_SECONDS, "model"
        )
        self._prefix_queries = counter(
            "prefix_cache_queries_total", "Prompt tokens that were looked up as their solve began.", "model"
        )
        self._prefix_hits = counter(
            "prefix_cache_hits_total", "Of these, tokens whose keys and values were still there.", "model"
        )
        self._step = histogram("step_seconds", "Length of one engine step.", SECONDS_SHORT, "model")
        self._prefill = histogram(
            "prefill_seconds", "Length of one engine step that computed tokens of prompts.", SECONDS_SHORT, "model"
        )
        self._batch = gauge("batch_rows", "Decode rows in the last engine step; 0 once no branch is left.", "model")
        self._device = counter("device_seconds_total", "Time of the device in a model's steps.", "model")
        self._device_wait = counter(
            "device_wait_seconds_total", "Time in which a model had work and the device was another model's.", "model"
        )
        self._kv_pages = gauge("kv_pages", "Key-value pages of a model's pool.", "model")
        self._kv_usage = gauge("kv_cache_usage_ratio", "Share of the key-value pages in use, 0 to 1.", "model")
        self._kv_shared = gauge("kv_pages_shared", "Key-value pages with more than one reference.", "model")
        self._cancel = histogram(
            "cancel_latency_seconds", "From what ends a solve to its last row gone.", SECONDS_SHORT, "phase"
        )
        self.executors = ExecutorMetrics(families)
        self._escalations = counter(
            "cascade_escalations_total",
            "Tiers of a cascade that were asked after the first one, and why.",
            "from_tier",
            "to_tier",
            "reason",
        )
        self._idle = counter("engine_idle_seconds_total", "Time in which the engine had no row to run.", "cause")
        self._requests = counter("grpc_requests_total", "Calls that ended.", "method", "code")
        self._request_seconds = histogram("grpc_request_seconds", "Length of calls.", SECONDS_LONG, "method", "code")
        self._lag = histogram("event_loop_lag_seconds", "Delay of a 100 ms timer of the front.", SECONDS_SHORT)
        self._tasks = gauge("process_tasks", "Tasks of the front's event loop.")
        self._build = families.info("build", "What is running; always 1.", "version", "torch", "triton", "device")

        for verdict in VERDICTS:
            for source in SOURCES:
                self._verdicts.labels(verdict, source)
        for cause in IDLE_CAUSES:
            self._idle.labels(cause)

    def serve_models(self, models: Iterable[str]) -> None:
        """Start the series of each model at zero, so that a rate can be taken from the first event on."""
        for model in models:
            for gauge in (self._running, self._waiting, self._batch, self._kv_pages, self._kv_usage, self._kv_shared):
                gauge.labels(model)
            for counter in (
                self._prompt,
                self._cached,
                self._generated,
                self._rows,
                self._rows_saved,
                self._preemptions,
                self._prefix_queries,
                self._prefix_hits,
                self._device,
                self._device_wait,
            ):
                counter.labels(model)
            for histogram in (
                self._first_pass,
                self._tokens_per_solved,
                self._candidates_to_pass,
                self._first_token,
                self._between_tokens,
                self._step,
                self._prefill,
            ):
                histogram.labels(model)
            for outcome in OUTCOMES:
                for priority in PRIORITIES:
                    self._solves.labels(model, outcome, priority)
            for reason in WASTE:
                self._wasted.labels(model, reason)
            for result in DRAFT_RESULTS:
                self._drafted.labels(model, result)

    def solve_waiting(self, model: str) -> None:
        """A solve entered the admission queue."""
        self._waiting.labels(model).inc()

    def solve_started(self, model: str, priority: str, queue_seconds: float, *, trace_id: str | None = None) -> None:
        """A waiting solve was admitted."""
        self._waiting.labels(model).dec()
        self._running.labels(model).inc()
        self._queue.labels(one_of(priority, PRIORITIES)).observe(queue_seconds, exemplar(trace_id))

    def solve_ended(
        self,
        model: str,
        outcome: str,
        priority: str,
        cost: SolveCost,
        seconds: float,
        *,
        started: bool = True,
        trace_id: str | None = None,
    ) -> None:
        """A solve ended after `seconds` since its acceptance; `started` is False if it was still waiting."""
        one_of(outcome, OUTCOMES)
        (self._running if started else self._waiting).labels(model).dec()
        self._solves.labels(model, outcome, one_of(priority, PRIORITIES)).inc()
        self._duration.labels(model, outcome).observe(seconds, exemplar(trace_id))
        for stage, count in (
            ("started", cost.samples_started),
            ("finished", cost.samples_finished),
            ("pruned", cost.samples_pruned),
            ("cut_off", cost.samples_cut_off),
            ("passed", cost.samples_passed),
        ):
            self._samples.labels(model, stage).inc(count)
        for stage, count in (
            ("finished", cost.candidates_finished),
            ("executed", cost.candidates_executed),
            ("passed", cost.candidates_passed),
        ):
            self._candidates.labels(model, stage).inc(count)
        self._prompt.labels(model).inc(cost.prompt_tokens)
        self._cached.labels(model).inc(cost.cached_prompt_tokens)
        self._generated.labels(model).inc(cost.generated_tokens)
        self._rows_saved.labels(model).inc(cost.rows_saved)
        self._preemptions.labels(model).inc(cost.preemptions)
        self._drafted.labels(model, "accepted").inc(cost.accepted_draft_tokens)
        self._drafted.labels(model, "rejected").inc(cost.drafted_tokens - cost.accepted_draft_tokens)
        for reason, tokens in (
            ("pruned", cost.pruned_tokens),
            ("preempted", cost.recomputed_tokens),
            ("after_pass", cost.after_pass_tokens),
            (WASTE_OF.get(outcome, "budget"), cost.wasted_tokens - cost.pruned_tokens),
        ):
            self._wasted.labels(model, reason).inc(tokens)
        if cost.time_to_first_pass is not None:
            self._first_pass.labels(model).observe(cost.time_to_first_pass, exemplar(trace_id))
        if cost.candidates_to_first_pass is not None:
            self._candidates_to_pass.labels(model).observe(cost.candidates_to_first_pass)
        if outcome == "solved":
            self._tokens_per_solved.labels(model).observe(cost.generated_tokens)

    def branch_ended(self, model: str, outcome: str) -> None:
        """A branch left the batch for good."""
        self._branches.labels(model, one_of(outcome, BRANCH_OUTCOMES)).inc()

    def verdict(self, verdict: str, source: str = "sampled") -> None:
        """A program was judged."""
        self._verdicts.labels(one_of(verdict, VERDICTS), one_of(source, SOURCES)).inc()

    def cancel_latency(self, phase: str, seconds: float) -> None:
        """The last row of an ended solve is gone, `seconds` after what has ended it."""
        self._cancel.labels(one_of(phase, CANCEL_PHASES)).observe(seconds)

    def prefix_cache(self, model: str, queries: int, hits: int) -> None:
        """A solve begins: so many tokens of its prompts were looked up, and found."""
        self._prefix_queries.labels(model).inc(queries)
        self._prefix_hits.labels(model).inc(hits)

    def first_token(self, model: str, seconds: float, *, trace_id: str | None = None) -> None:
        """The first token of a solve can be drawn, so long after the engine heard of it."""
        self._first_token.labels(model).observe(seconds, exemplar(trace_id))

    def step(
        self,
        model: str,
        rows: int,
        seconds: float,
        prefill_tokens: int = 0,
        token_gaps: Iterable[tuple[float, int]] = (),
    ) -> None:
        """One engine step ran with `rows` decode rows (0 for a step of prefill alone).

        `token_gaps`: (seconds, tokens), so many tokens came so long after the one before in their branch.
        """
        self._step.labels(model).observe(seconds)
        if prefill_tokens:
            self._prefill.labels(model).observe(seconds)
        between = self._between_tokens.labels(model)
        for gap, tokens in token_gaps:
            for _ in range(tokens):
                between.observe(gap)
        self._batch.labels(model).set(rows)
        self._rows.labels(model).inc(rows)

    def device(self, model: str, seconds: float, waited: float) -> None:
        """A model's step took so long on the device; before it, it `waited` for the steps of other models."""
        self._device.labels(model).inc(seconds)
        self._device_wait.labels(model).inc(waited)

    def kv_pages(self, model: str, pages: int) -> None:
        """A model is loaded, with so many pages."""
        self._kv_pages.labels(model).set(pages)

    def engine_state(self, model: str, branches: int, usage: float, pages_shared: int) -> None:
        """Branches that run; of the page pool the share in use (0 to 1) and pages with more than one reference."""
        if not branches:
            self._batch.labels(model).set(0)
        self._kv_usage.labels(model).set(usage)
        self._kv_shared.labels(model).set(pages_shared)

    def engine_idle(self, cause: str, seconds: float) -> None:
        """The engine had no row to run for `seconds`."""
        self._idle.labels(one_of(cause, IDLE_CAUSES)).inc(seconds)

    def serve_tiers(self, names: Sequence[str]) -> None:
        """Start the series of a cascade's escalations at zero: from each tier to the next, and to itself."""
        for place, name in enumerate(names):
            for other in names[place : place + 2]:
                for reason in ESCALATIONS:
                    self._escalations.labels(name, other, reason)

    def escalated(self, before: str, tier: str, reason: str) -> None:
        """A tier of a cascade was asked after, or beside, another one."""
        self._escalations.labels(before, tier, one_of(reason, ESCALATIONS)).inc()

    def grpc_request(self, method: str, code: str, seconds: float) -> None:
        """One call ended. `method` is a served full name or "unknown": what a client types is no label."""
        self._requests.labels(method, code).inc()
        self._request_seconds.labels(method, code).observe(seconds)

    def event_loop_lag(self, seconds: float) -> None:
        """A timer of the front fired late by `seconds`."""
        self._lag.observe(seconds)

    def tasks(self, count: int) -> None:
        """The front's event loop has so many tasks."""
        self._tasks.set(count)

    def build(self, *, version: str, torch: str, triton: str, device: str) -> None:
        """Name what is running; empty strings for parts that are absent."""
        self._build.info({"version": version, "torch": torch, "triton": triton, "device": device})
