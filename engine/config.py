"""What can be set, and the defaults.

`Settings` is plain typed data, free of torch and gRPC. `Settings()` is the defaults and reads nothing; files, variables
and flags come in by engine/config_layers.py.
"""

from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, cast

from pydantic import ByteSize, Field, model_validator

from engine.config_base import Names, Positive, Section
from engine.config_cascade import CascadeSettings
from engine.config_recorder import RecorderSettings
from engine.config_sessions import SessionSettings
from engine.config_shares import ShareSettings


class ExecutorMode(StrEnum):
    """How each program's sandbox is made; as executor.config.Mode, which a client's install lacks."""

    JAIL = "jail"
    FORK_SERVER = "fork-server"


class Arithmetic(StrEnum):
    """Number format of the weights and the matrix products."""

    AUTO = "auto"
    INT8 = "int8"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"


class Device(StrEnum):
    """What computes."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class KvBits(IntEnum):
    """Bits of one number of a key or value."""

    WIDE = 16
    NARROW = 8


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How log lines look."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class ServingSettings(Section):
    """The front: where it listens and who may call."""

    listen: Names = ()
    """Addresses of the gRPC server, `unix:/path` or `host:port`. None given: the Unix socket `thresher.sock` in the
    runtime directory ($XDG_RUNTIME_DIR/thresher, or /tmp/thresher-UID). Unix sockets have mode 0600 and need no token;
    TCP needs the bearer token."""
    token_file: Path | None = None
    """File with one bearer token of TCP calls that may do everything (white space around it is dropped). Absent, and no
    `tokens_file` either: one is drawn at start and written to the runtime directory with mode 0600."""
    tokens_file: Path | None = None
    """File of the tokens of several callers, each with its rights, quota and expiry, as `thresher token` keeps it.
    Changes hold within a second, or at once after SIGHUP."""
    tls_certificate: Path | None = None
    """File with the server's certificate and those it was issued by, in PEM: TCP addresses and the metrics endpoint
    then speak TLS. A changed file is used for new connections, without a restart."""
    tls_key: Path | None = None
    """File with the private key of that certificate, in PEM; not readable by everybody."""
    tls_client_ca: Path | None = None
    """File with the certificates, in PEM, by which those of callers must be issued: a connection without one is refused
    (mutual TLS). Its names are then the caller's identity, and it needs no token."""
    insecure: bool = False
    """Allow addresses other than loopback without TLS: tokens, programs and metrics then cross the network readable."""
    metrics_listen: str | None = None
    """`host:port` of the Prometheus endpoint. Absent: there is none."""
    drain_seconds: Annotated[float, Field(ge=0, le=86_400)] = 20.0
    """Seconds that running solves get to finish after SIGTERM or SIGINT; the rest ends with UNAVAILABLE. The server is
    gone at most ten seconds later: with the default, within the 30 seconds that Kubernetes gives a pod."""
    max_request_bytes: Annotated[ByteSize, Field(ge=1 << 16, le=1 << 30)] = ByteSize(16 << 20)
    """Largest gRPC message in either direction, in bytes."""
    executor_only: bool = False
    """Run programs and nothing else: no model is loaded (the sections models and engine have no effect), and Solve is
    refused. For machines that lend their CPUs to a server elsewhere, which names them in executor.remotes."""

    @model_validator(mode="after")
    def _tls_is_whole(self) -> "ServingSettings":
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together; set both or neither")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key; set them, or leave it out")
        return self


class ModelSettings(Section):
    """What is served."""

    serve: Names = ("qwen2.5-coder-0.5b-instruct",)
    """Models to load: names from `thresher models list`, or paths of GGUF files and Hugging Face
    folders."""
    default: str | None = None
    """Model of requests that name none. Absent: the first of `serve`."""
    arithmetic: Arithmetic = Arithmetic.AUTO
    """`auto` takes bfloat16 on a GPU; on a CPU int8 where the processor multiplies bytes in long vectors (AVX512_VNNI),
    bfloat16 where it has fast instructions for that, otherwise float32."""
    strict: bool = False
    """Promise that with one seed a model draws the same programs, bit for bit, whatever else the server draws at that
    moment; a model that cannot be run so is refused. It costs nothing where the processor has 512-bit vectors, which
    run so anyway: GetServerInfo says what holds. On a GPU it is not to be had."""

    @model_validator(mode="after")
    def _default_is_served(self) -> "ModelSettings":
        if not self.serve:
            raise ValueError("serve is empty; name at least one model")
        if len(set(self.serve)) != len(self.serve):
            raise ValueError(f"serve names a model twice: {', '.join(self.serve)}")
        if self.default is not None and self.default not in self.serve:
            raise ValueError(f"default {self.default!r} is not in serve ({', '.join(self.serve)}); add it there")
        return self


class EngineSettings(Section):
    """The engine process of each model. Several models take turns on the device (docs/scheduling.md)."""

    device: Device = Device.CPU
    """What computes: `cpu`, `cuda`, or `auto`: a GPU if there is one that torch can use (and models.strict is not set),
    else the CPU. ListModels says which. The runner for GPUs has not been tried on one yet: it has to be asked for."""
    threads: Positive | None = None
    """CPU threads of the matrix products. Absent: the cores this process may use."""
    kv_bytes: Annotated[ByteSize, Field(ge=1 << 20)] | None = None
    """Memory for keys and values of all solves of a model together, in bytes (a number, or text such as `2GiB`).
    Absent: 1 GiB on a CPU; on a GPU what the weights leave free, and with several models it has to be set."""
    page_tokens: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Tokens in one page of that memory. Absent: 16 on a CPU, 64 on a GPU."""
    suffix_kv_bits: KvBits = KvBits.WIDE
    """Bits of each key and value of a token that was drawn; those of prompts always have what models.arithmetic has,
    and so have all with 16. With 8, on a GPU alone, a step reads half as many bytes for what the samples do not share;
    memory holds no more tokens, and texts may differ. No GPU has run it yet (docs/scheduling.md)."""
    step_ms: Annotated[float, Field(gt=0, le=10_000)] | None = None
    """Upper bound of one engine step in milliseconds; prefill is cut into chunks to keep it, so that a verdict or a
    cancel never waits longer. Absent: 100 on a CPU, 30 on a GPU."""
    max_rows: Positive | None = None
    """Branches that decode in one step at most, over all solves of a model. Models take turns, a step a turn: no more
    are on the device at any time. Absent: 64 on a CPU, 256 on a GPU."""
    drafting: bool = True
    """Guess the next tokens from the solve's other samples, its prompt and earlier solves where that pays. It changes
    no text."""
    shares: tuple[ShareSettings, ...] = ()
    """What models get of the device that they share, each a table (`[[engine.shares]]`). One without a table has weight
    1 and `kv_bytes`."""

    @model_validator(mode="after")
    def _shares_are_of_different_models(self) -> "EngineSettings":
        names = [share.model for share in self.shares]
        if len(set(names)) != len(names):
            raise ValueError(f"shares: {', '.join(names)} names a model twice")
        return self

    def share(self, model: str) -> ShareSettings:
        """What a model gets of the device, its kv_bytes included; by its name in models.serve."""
        own = next((share for share in self.shares if share.model == model), ShareSettings(model=model))
        return own if own.kv_bytes is not None else own.model_copy(update={"kv_bytes": self.kv_bytes})


class LimitSettings(Section):
    """What one request may ask for. More is refused, never cut."""

    max_k: Positive = 4096
    """Samples of one solve; a solve with a budget and no k draws so many at most."""
    max_tests: Positive = 2048
    """Tests of one problem."""
    max_program_bytes: Positive = 256 << 10
    """Length of one program, test snippet or setup code, in bytes of UTF-8."""
    max_prompt_bytes: Positive = 1 << 20
    """Length of a prompt, in bytes of UTF-8."""
    max_prior_attempts: Positive = 256
    """Programs of others that one solve may bring along (cascade.prior_attempts)."""
    max_waiting: Positive = 256
    """Solves that wait for the engine; one more is refused with RESOURCE_EXHAUSTED."""
    max_solves_per_caller: Positive = 256
    """Solves that one caller may have at a time, running and waiting, where its token does not say otherwise. All who
    call by Unix sockets are one caller, and all who share a token."""


class ExecutorSettings(Section):
    """The sandbox. Limits that a request asks for are clamped to the maxima here, and the answer says which were."""

    mode: ExecutorMode = ExecutorMode.JAIL
    """How each program's sandbox is made: `jail` starts one afresh, `fork-server` forks one that is warm, for about a
    quarter of the CPU time (as root on x86-64; what it does and does not part is in SECURITY.md)."""
    slots: Positive | None = None
    """Programs that run at the same time. Absent: the cores this process may use."""
    warm: Annotated[int, Field(ge=0)] | None = None
    """Jails kept started ahead of need. Absent: twice as many as slots."""
    remotes: Names = ()
    """Where programs run: addresses (`unix:/path` or `host:port`) of other servers' ExecutionService, and the word
    `local` for this machine. None given: on this machine alone. Several are balanced; a run whose executor dies goes to
    another one. The server starts once one of them answers."""
    remote_token_file: Path | None = None
    """File with the bearer token that the remotes ask for on TCP. They may share one token_file."""
    remote_tls_ca: Path | None = None
    """File with the certificates, in PEM, by which those of the remotes must be issued. With it remotes on TCP are
    called by TLS."""
    remote_tls_certificate: Path | None = None
    """File with the certificate by which this server shows itself to remotes that ask for one, in PEM."""
    remote_tls_key: Path | None = None
    """File with the private key of that certificate, in PEM."""
    allow_weaker: Names = ()
    """Guarantees that may be missing on this machine, by the names that `thresher doctor` prints; every result then
    says so. Any other missing guarantee stops the start."""
    site_packages: Path | None = None
    """Folder of packages that programs may import, read-only (`pip install --target FOLDER numpy`). Every program sees
    all that is in it. Absent: the standard library alone."""
    max_cpu_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Largest CPU limit of one test, in seconds."""
    max_wall_seconds: Annotated[float, Field(gt=0)] = 180.0
    """Largest wall limit of one test, in seconds."""
    max_memory_bytes: Annotated[ByteSize, Field(ge=1 << 24)] = ByteSize(2 << 30)
    """Largest memory limit of one program with all its processes, in bytes."""
    max_output_bytes: Annotated[ByteSize, Field(ge=1)] = ByteSize(16 << 20)
    """Largest output limit of one test, in bytes for each stream."""
    max_processes: Positive = 64
    """Largest process limit of one program."""


class LogSettings(Section):
    """Logs go to standard error."""

    level: LogLevel = LogLevel.INFO
    """Lines below this level are not written. Programs and prompts are never written at INFO or above."""
    format: LogFormat = LogFormat.AUTO
    """`auto` writes console lines on a terminal and JSON otherwise."""


class Settings(Section):
    """All settings of a server."""

    serving: ServingSettings = ServingSettings()
    models: ModelSettings = ModelSettings()
    engine: EngineSettings = EngineSettings()
    limits: LimitSettings = LimitSettings()
    sessions: SessionSettings = SessionSettings()
    executor: ExecutorSettings = ExecutorSettings()
    cascade: CascadeSettings = CascadeSettings()
    recorder: RecorderSettings = RecorderSettings()
    log: LogSettings = LogSettings()

    @property
    def default_model(self) -> str:
        """The model of requests that name none."""
        return self.models.default or self.models.serve[0]


def section_fields(section: str) -> dict[str, str]:
    """Field names and descriptions of a section, for help texts and documentation."""
    kind = cast(type[Section], Settings.model_fields[section].annotation)
    return {name: " ".join((field.description or "").split()) for name, field in kind.model_fields.items()}
