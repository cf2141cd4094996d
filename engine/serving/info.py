"""InfoService: what this server is, what it serves, and how busy it is."""

from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import grpc.aio
from thresher.v1 import info_service_pb2, info_service_pb2_grpc

from engine.config import Settings
from engine.serving.backend import SolverLike
from engine.serving.execution import most_in_flight
from engine.serving.solve_out import load_out, model_name, model_out
from engine.solving.errors import InvalidRequest

FEATURES = (
    "COMPARISON_APPROX",
    "COMPARISON_APPS",
    "COMPARISON_EXACT",
    "COMPARISON_JUDGE",
    "COMPARISON_LINES",
    "COMPARISON_TOKENS",
    "COMPARISON_UNORDERED",
    "CascadeContext.attempts_in_prompt",
    "CascadeContext.difficulty",
    "CascadeContext.prior_attempts",
    "ExecutionService.Execute",
    "ExecutionService.ExecuteMany",
    "LANGUAGE_CPP",
    "LANGUAGE_JAVASCRIPT",
    "LANGUAGE_PYTHON",
    "PRIORITY_BATCH",
    "PRIORITY_INTERACTIVE",
    "PRUNE_SYNTAX",
    "Problem.chat",
    "Problem.completion",
    "Problem.infill",
    "Problem.variants",
    "RETURN_POLICY_ALL",
    "RETURN_POLICY_BEST",
    "RETURN_POLICY_FIRST_PASS",
    "RunProgram.trace_context",
    "SAMPLING_MODE_BEAM",
    "SAMPLING_MODE_DISTINCT",
    "SAMPLING_MODE_INDEPENDENT",
    "SamplingParams.distinct_programs",
    "SamplingParams.ebnf",
    "SamplingParams.json_schema",
    "SamplingParams.regex",
    "SamplingParams.temperatures",
    "SynthesisService.GetTranscript",
    "SynthesisService.Refine",
    "SynthesisService.Solve",
    "SynthesisService.SolveOnce",
    "Test.call",
    "Test.snippet",
    "Test.stdio",
)
"""What may be asked of this server, by method, field or enum value; what is not here is refused by name."""

_OF_SOLVING = (
    "CascadeContext.",
    "PRIORITY_",
    "PRUNE_",
    "Problem.",
    "RETURN_POLICY_",
    "SAMPLING_MODE_",
    "SamplingParams.",
    "SynthesisService.",
)
_OF_EXECUTION = ("ExecutionService.", "LANGUAGE_", "RunProgram.")
EXECUTOR_FEATURES = tuple(name for name in FEATURES if not name.startswith(_OF_SOLVING))
"""What may be asked of a server that only executes."""
ROUTER_FEATURES = tuple(name for name in FEATURES if not name.startswith(_OF_EXECUTION))
"""What may be asked of a front that only passes solves on, as far as its tiers can do it."""

_LANGUAGE = "LANGUAGE_"
_CONSTRAINTS = ("SamplingParams.ebnf", "SamplingParams.json_schema", "SamplingParams.regex")
_LARGEST_PAGE = 100
_Context = grpc.aio.ServicerContext[Any, Any]


class InfoService(info_service_pb2_grpc.InfoServiceServicer):
    """What this server is and how busy it is."""

    def __init__(self, settings: Settings, solver: SolverLike) -> None:
        self._settings = settings
        self._solver = solver

    async def GetServerInfo(
        self, request: info_service_pb2.GetServerInfoRequest, context: _Context
    ) -> info_service_pb2.GetServerInfoResponse:
        """Version, limits, features. The sandbox is absent while the server starts."""
        limits = self._settings.limits
        response = info_service_pb2.GetServerInfoResponse(
            version=version("thresher"),
            max_k=limits.max_k,
            max_tests=limits.max_tests,
            max_request_bytes=self._settings.serving.max_request_bytes,
            features=self._features(),
            max_program_bytes=limits.max_program_bytes,
        )
        if self._solver.status == "starting":
            return response
        if self._solver.default_model:
            response.default_model = model_name(self._solver.default_model)
        if self._solver.executor is not None:
            sandbox = self._solver.executor.info
            response.max_programs_in_flight = most_in_flight(self._solver.load().executor_slots)
            response.sandbox.CopyFrom(
                info_service_pb2.SandboxInfo(
                    backend=sandbox.backend, version=sandbox.version, weaknesses=sandbox.weaknesses
                )
            )
        return response

    def _features(self) -> tuple[str, ...]:
        features = EXECUTOR_FEATURES if self._settings.serving.executor_only else FEATURES
        if self._solver.executor is None:
            return ROUTER_FEATURES
        if find_spec("llguidance") is None:
            features = tuple(name for name in features if name not in _CONSTRAINTS)
        if self._solver.status == "starting":
            return features
        languages = {f"{_LANGUAGE}{name.upper()}" for name in self._solver.executor.info.runtimes}
        return tuple(name for name in features if name in languages or not name.startswith(_LANGUAGE))

    async def ListModels(
        self, request: info_service_pb2.ListModelsRequest, context: _Context
    ) -> info_service_pb2.ListModelsResponse:
        """Models in pages; a token is the position of the next one."""
        models = () if self._solver.status == "starting" else self._solver.models()
        if request.page_size < 0:
            raise InvalidRequest("page_size", f"is {request.page_size}; use 0 for the server's own size")
        start = 0
        if request.page_token:
            if not request.page_token.isdecimal() or int(request.page_token[:9]) >= len(models):
                raise InvalidRequest("page_token", "is not one that this server gave out; start without one")
            start = int(request.page_token)
        end = start + min(request.page_size or _LARGEST_PAGE, _LARGEST_PAGE)
        return info_service_pb2.ListModelsResponse(
            models=[model_out(model) for model in models[start:end]],
            next_page_token=str(end) if end < len(models) else "",
        )

    async def GetLoad(
        self, request: info_service_pb2.GetLoadRequest, context: _Context
    ) -> info_service_pb2.GetLoadResponse:
        """Load, for routers and balancers."""
        if self._solver.status == "starting":
            return info_service_pb2.GetLoadResponse()
        return load_out(self._solver.load())
