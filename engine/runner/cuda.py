"""Executes steps on a GPU: decode rows by captured graphs, one for each of a few numbers of rows; steps with prefill in
them launch by launch."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.core.distribution import Distribution
from engine.core.types import Draw, Step
from engine.models.decoder import Decoder, DecoderConfig
from engine.runner.asks import Asked, collect, hand_out
from engine.runner.device_layer import linear_of
from engine.runner.drawing import Collect, Drawing, HostDrawing
from engine.runner.layout_gpu import GpuLayout, lay_out
from engine.runner.operations import Operations, PlainOperations
from kernels.gpu.batch import Batch, Upload

PAGE_SIZE = 64
_BUCKETS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 448, 512)
"""Rows of captured graphs: a step takes the next larger one, and what it has too many sees nothing."""

_STEP_TOKENS = 8192
"""Tokens of a step for whose activations memory is left beside the pool."""
_LEFT = 1 << 30
"""Bytes left beside the pool for graphs, work space and what libraries take."""

_BATCH_BYTES = 8 << 20
"""What the host tells the device in one copy at most; what does not fit has copies of its own."""

Reduce = Callable[[Tensor], None]
"""Adds up a tensor over the devices that share a model, in place."""


@dataclass(slots=True)
class InFlight:
    """A step that the device has been given; `collect` is None where nothing is asked for."""

    step: Step
    collect: Collect | None


def bytes_per_token(config: DecoderConfig, dtype: torch.dtype, *, narrow: bool = False) -> int:
    """Bytes of the pool for each token; `narrow`: with its scales."""
    return config.layers * 2 * config.kv_heads * (config.head_dim * dtype.itemsize + 4 * narrow)


def pool_bytes(free: int, config: DecoderConfig, dtype: torch.dtype, rows: int) -> int:
    """Bytes of a pool where so many are free once the weights are loaded, for steps of up to `rows` decode rows."""
    widest = config.hidden * 2 + (config.heads * 2 + config.kv_heads * 2) * config.head_dim + config.intermediate * 3
    activations = _STEP_TOKENS * (widest * dtype.itemsize + config.hidden * 4)
    logits = 3 * rows * config.vocab * 4
    return free - activations - logits - _LEFT


class CudaRunner:
    """Owns the KV pool: keys and values of all layers, [layers, pages, kv_heads, page_size, head_dim] each.

    A step is a pure function of the pool and the chunks: the runner keeps nothing else between steps. In the last bits,
    what a row gives depends on the batch: matrix products choose their kernels by the number of rows.

    With a narrow suffix, tokens after a prompt are stored in 8 bits, in the slots that they would have anyway: a step
    reads half as much for them, and the pool holds no more of them.

    On the device "cpu" plain references of the kernels do the same, for tests.
    """

    deterministic = False
    """Whether a row's answers are the same, bit for bit, in any batch."""

    def __init__(
        self,
        decoder: Decoder,
        *,
        kv_bytes: int | None = None,
        page_size: int = PAGE_SIZE,
        rows: int = 64,
        narrow_suffix: bool = False,
        operations: Operations | None = None,
        drawing: Drawing | None = None,
        batch: Batch | None = None,
        reduce: Reduce | None = None,
    ) -> None:
        """`decoder`: on its device, see engine.runner.device_layer. `kv_bytes`: memory of the pool; None for all that
        is free on a GPU. `rows`: decode rows for whose steps graphs are captured now; larger ones run without.
        `narrow_suffix`: see above. `operations`, `drawing`: others than the device's own, and the `batch` that they
        write to. `reduce`: where other devices have parts of the decoder.

        Raises:
            ValueError: not even one page fits, or the kernels cannot run this decoder.
        """
        config, device = decoder.config, decoder.weights.embedding.device
        if kv_bytes is None:
            if device.type != "cuda":
                raise ValueError("kv_bytes: on a CPU it must be given")
            free = torch.cuda.mem_get_info(device)[0]
            kv_bytes = pool_bytes(free, config, decoder.dtype, rows)
            if kv_bytes < 1:
                raise ValueError(f"{free} bytes are free beside the weights, too few for a step of {rows} rows")
        self.page_size = page_size
        per_page = bytes_per_token(config, decoder.dtype, narrow=narrow_suffix) * page_size
        self.pages = kv_bytes // per_page
        if self.pages < 1:
            raise ValueError(f"kv_bytes: {kv_bytes} holds no page of {page_size} tokens; give {per_page}")
        self._decoder, self._config, self.device = decoder, config, device
        self._batch = batch or Batch(device, _BATCH_BYTES)
        own_operations, own_drawing = _of_device(decoder, page_size, rows, self._batch, narrow=narrow_suffix)
        self._operations, self._drawing = operations or own_operations, drawing or own_drawing
        self._reduce = reduce
        shape = (config.layers, self.pages, config.kv_heads, page_size, config.head_dim)
        self._keys = torch.zeros(shape, dtype=decoder.dtype, device=device)
        self._values = torch.zeros(shape, dtype=decoder.dtype, device=device)
        self.narrow_suffix = narrow_suffix
        scales = (config.layers, self.pages if narrow_suffix else 0, config.kv_heads, 2, page_size)
        self._scales = torch.zeros(scales, dtype=torch.float32, device=device)
        self._buckets = [size for size in _BUCKETS if size < rows] + [rows]
        self._upload = Upload(3 * rows * 8, device, self._batch)
        self._inputs = self._upload.device.view(torch.int64).view(3, rows)  # tokens, positions, slots
        self._inputs[2] = -1
        self._logits = torch.zeros(rows, config.vocab, dtype=decoder.dtype, device=device)
        self._graphs: dict[int, Callable[[], None]] = {}
        if device.type == "cuda":
            self._graph_memory = torch.cuda.graph_pool_handle()
            # Now, and not in the first steps, whose time would mislead the scheduler.
            for bucket in reversed(self._buckets):
                self._batch.begin()
                self._operations.load([], bucket, [], 0)
                self._batch.send()
                self._graphs[bucket] = self._captured(bucket)

    def run(self, step: Step) -> list[list[Distribution]]:
        """Compute the step's tokens; for each chunk the distributions it asks for, in the order of its asks."""
        return self.collect(self.submit(step))

    @torch.inference_mode()
    def submit(self, step: Step) -> InFlight:
        """Give a step to the device, without waiting for it. See engine.core.ahead.AheadRunner."""
        layout = lay_out(step, self.page_size, narrow=self.narrow_suffix)
        asked = collect(step, layout.first)
        after = [draw for _, draw in sorted(zip(layout.first, step.after, strict=True))] if step.after else []
        self._batch.begin()
        if not layout.prefill and layout.rows <= self._buckets[-1]:
            logits = self._run_graph(layout, asked, after)
        else:
            logits = self._run_eagerly(layout, asked, after)
        return InFlight(step, self._drawing.submit(logits) if asked.asks else None)

    @torch.inference_mode()
    def collect(self, flight: InFlight) -> list[list[Distribution]]:
        """Wait for a step; as `run`."""
        return hand_out(flight.step, [] if flight.collect is None else flight.collect())

    def _run_graph(self, layout: GpuLayout, asked: Asked, after: list[Draw]) -> Tensor:
        """Logits of all decode rows, [rows, vocab], until the next step."""
        rows = layout.rows
        bucket = next(size for size in self._buckets if size >= rows)
        given = self._upload.begin().view(torch.int64).view(self._inputs.shape).numpy()
        given[:2] = 0
        given[2] = -1  # what padding rows write goes nowhere
        given[:, :rows] = layout.tokens, layout.positions, layout.writes
        self._upload.end()
        if self._operations.load(layout.decode, bucket, [], 0):
            self._forget_graphs()
        self._drawing.prepare([asked.tokens[place] for place in asked.places], asked.asks, after)
        self._batch.send()
        if after:
            self._drawing.follow(self._inputs[0, :rows])
        if bucket not in self._graphs:
            self._graphs[bucket] = self._captured(bucket)
        self._graphs[bucket]()
        return self._logits[:rows]

    def _forget_graphs(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # the step in flight may be one of them
        self._graphs.clear()

    def _captured(self, bucket: int) -> Callable[[], None]:
        """What computes a step of `bucket` rows from `_inputs` and the loaded runs to `_logits`."""

        @torch.inference_mode()
        def compute() -> None:
            tokens, positions, writes = self._inputs[:, :bucket]
            stream, addend = self._hidden(tokens, positions, writes, bucket)
            self._logits[:bucket] = self._head(stream, addend)

        if self.device.type != "cuda":
            return compute
        # Once beforehand: libraries and kernels make themselves ready, which cannot be captured. Its rows are padding
        # or will be computed again.
        compute()
        torch.cuda.synchronize(self.device)
        graph = torch.cuda.CUDAGraph()
        # What is computed on the way lies in memory that all graphs share: they run one after the other.
        with torch.cuda.graph(graph, pool=self._graph_memory):
            compute()
        return graph.replay

    def _run_eagerly(self, layout: GpuLayout, asked: Asked, after: list[Draw]) -> Tensor:
        """Logits of the tokens that are asked about."""
        wanted = asked.tokens
        given = np.zeros((4, len(layout.tokens)), np.int64)
        given[:3] = layout.tokens, layout.positions, layout.writes
        given[3, : len(wanted)] = wanted
        copied = self._copy(given, torch.empty(given.shape, dtype=torch.int64, device=self.device))
        tokens, positions, writes, places = copied
        if self._operations.load(layout.decode, layout.rows, layout.prefill, len(tokens) - layout.rows):
            self._forget_graphs()
        self._drawing.prepare(asked.places, asked.asks, after)
        self._batch.send()
        if after:
            self._drawing.follow(tokens)
        stream, addend = self._hidden(tokens, positions, writes, layout.rows)
        places = places[: len(wanted)]
        return self._head(stream[places], addend[places])

    def _copy(self, values: npt.NDArray[np.int64], target: Tensor) -> Tensor:
        """Copy to the device without waiting for it."""
        staged = torch.from_numpy(values)
        if self.device.type == "cuda":
            staged = staged.pin_memory()
        return target.copy_(staged, non_blocking=True)

    def _hidden(self, tokens: Tensor, positions: Tensor, writes: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """All layers, `rows` of the tokens being decode rows: the residual stream [T, hidden] float32, and what the
        last layer still has to add to it."""
        config, decoder, operations = self._config, self._decoder, self._operations
        weights, eps, count = decoder.weights, config.norm_eps, len(tokens)
        stream = torch.nn.functional.embedding(tokens, weights.embedding).float()
        narrow = torch.empty(count, config.hidden, dtype=decoder.dtype, device=self.device)
        queries = torch.empty(count, config.heads, config.head_dim, dtype=decoder.dtype, device=self.device)
        attended, active = torch.empty_like(queries), narrow.new_empty(count, config.intermediate)
        addend: Tensor | None = None
        for number, layer in enumerate(weights.layers):
            keys, values = self._keys[number], self._values[number]
            scales = self._scales[number] if self.narrow_suffix else None
            operations.add_norm(stream, addend, layer.attention_norm, eps, narrow)
            qkv = linear_of(layer.qkv)
            operations.place(
                qkv(narrow),
                qkv.bias,
                layer.q_norm,
                layer.k_norm,
                positions,
                writes,
                decoder.cos,
                decoder.sin,
                keys,
                values,
                queries,
                eps,
                scales,
            )
            operations.attend(queries, keys, values, attended, rows, scales)
            addend = self._summed(layer.attention_out(attended.flatten(1)))
            operations.add_norm(stream, addend, layer.mlp_norm, eps, narrow)
            operations.swiglu(layer.gate_up(narrow), active)
            addend = self._summed(layer.down(active))
        if addend is None:
            raise ValueError("the decoder has no layers")
        return stream, addend

    def _summed(self, part: Tensor) -> Tensor:
        if self._reduce is not None:
            self._reduce(part)
        return part

    def _head(self, stream: Tensor, addend: Tensor) -> Tensor:
        """Logits [T, vocab] in the decoder's type."""
        normed = torch.empty(stream.shape, dtype=self._decoder.dtype, device=self.device)
        weights = self._decoder.weights
        self._operations.add_norm(stream, addend, weights.norm, self._config.norm_eps, normed)
        return weights.head(normed)


def _of_device(
    decoder: Decoder, page_size: int, rows: int, batch: Batch, *, narrow: bool
) -> tuple[Operations, Drawing]:
    config, device = decoder.config, decoder.weights.embedding.device
    if device.type != "cuda":
        return PlainOperations(), HostDrawing()
    # Triton looks for its driver when it is imported.
    from engine.runner.device_drawing import DeviceDrawing
    from engine.runner.triton_operations import TritonOperations
    from kernels.gpu.items import AttentionShape

    shape = AttentionShape(config.heads, config.kv_heads, config.head_dim, page_size, decoder.dtype, narrow)
    return TritonOperations(shape, device, batch=batch), DeviceDrawing(config.vocab, device, 2 * rows, batch)
