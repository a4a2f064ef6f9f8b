"""Types of the compiled module; its functions are in csrc/bindings*.cpp."""

import numpy as np
import numpy.typing as npt

def compiled_levels() -> list[str]:
    """The levels in this module, best first. The last is "portable"."""

def usable_levels() -> list[str]:
    """Those of them that this machine can run."""

# --- programs (bindings_program.cpp) ---

class ThreadPool:
    """The threads that compute a step together; asleep between steps."""

    def __init__(self, num_threads: int) -> None: ...
    @property
    def num_threads(self) -> int: ...

class Weight:
    """A matrix of ``columns`` outputs by ``inputs``, in the tiles that products read. Raises ValueError for a GGUF type
    without a packed format, or sizes that are no multiple of its blocks."""

    def __init__(self, gguf_type: int, inputs: int, columns: int) -> None: ...
    def put(self, gguf_type: int, rows: npt.NDArray[np.uint8], first_column: int, panel_stride: int = 1) -> None:
        """rows: [n, bytes per row], a checkpoint's rows as stored. They become columns in panels of 16, which are
        ``panel_stride`` panels apart: 1 or 2. Threads may put different columns at once."""

    @property
    def inputs(self) -> int: ...
    @property
    def columns(self) -> int: ...
    @property
    def num_bytes(self) -> int: ...

class SplitHead:
    """A copy of a Q8_0 head that finds the highest logit by reading half of it; see csrc/highest.h.

    Raises ValueError for other weights."""

    def __init__(self, weight: Weight, pool: ThreadPool) -> None: ...
    @staticmethod
    def is_possible(weight: Weight) -> bool: ...

class FloatVector:
    """Float32 values that instructions share."""

    def __init__(self, values: npt.NDArray[np.float32]) -> None: ...

class KvCache:
    """dtype: "bfloat16" or "int8". Memory is taken when slots are written."""

    def __init__(self, num_layers: int, num_kv_heads: int, head_dim: int, num_slots: int, dtype: str) -> None: ...
    @staticmethod
    def bytes_per_slot(num_layers: int, num_kv_heads: int, head_dim: int, dtype: str) -> int: ...

class Program:
    """A list of instructions over numbered buffers of rows; see csrc/program.h.

    Raises ValueError for what does not fit."""

    def __init__(self, level: str, pool: ThreadPool) -> None: ...
    def buffer(self, kind: str, size: int) -> int:
        """kind: "float", "bf16" or "quantized"."""

    def input_kind(self, weight: Weight) -> str:
        """The kind of rows that products with this weight read."""

    def embed(self, weight: Weight, output: int) -> None: ...
    def gather(self, output: int) -> None: ...
    def rms_norm(self, input: int, weight: FloatVector, eps: float, output: int) -> None: ...
    def convert(self, input: int, first_column: int, output: int) -> None: ...
    def silu_and_mul(self, input: int, output: int) -> None: ...
    def add(self, input: int, output: int) -> None: ...
    def matmul(
        self, input: int, weight: Weight, bias: FloatVector | None, epilogue: str, output: int, first_column: int
    ) -> None:
        """epilogue: "store", "add" (to the output) or "silu_and_mul" (of panels put in turn)."""

    def highest(self, input: int, head: SplitHead, output: int) -> None:
        """output: one column, the id of the token whose logit is highest, the first of equals; -1 where logits may not
        be finite."""

    def attention(
        self,
        qkv: int,
        num_heads: int,
        query_scale: float,
        cos_sin: FloatVector,
        cache: KvCache,
        layer: int,
        output: int,
    ) -> None: ...
    def narrow(self, buffers: list[int]) -> None:
        """From here on compute only the rows that are read. The attention right before attends for these rows alone,
        but stores the keys and values of all. buffers: floats that later instructions read of earlier ones."""

    @property
    def num_instructions(self) -> int: ...
    def run(
        self,
        token_ids: npt.NDArray[np.int64],
        positions: npt.NDArray[np.int64],
        slots: npt.NDArray[np.int64],
        first_row: npt.NDArray[np.int64],
        row_count: npt.NDArray[np.int64],
        run_begin: npt.NDArray[np.int64],
        run_start: npt.NDArray[np.int64],
        run_length: npt.NDArray[np.int64],
        read_rows: npt.NDArray[np.int64],
    ) -> None:
        """One step. Sequence i has rows first_row[i] to + row_count[i], in order of position, and the slots of runs
        run_begin[i] to [i + 1]. read_rows: ascending, those that a program computes after it narrows; values have only
        these then."""

    def run_rows(self, source: Program, buffer: int, rows: npt.NDArray[np.int64]) -> None:
        """Run over some rows of another program's buffer, which `gather` copies."""

    def values(self, buffer: int) -> npt.NDArray[np.float32]:
        """[rows of the last run, size], valid until the next run."""

# --- sampling (bindings_sampling.cpp) ---

def uniform(seed: int, position: int, sample_index: int) -> float:
    """As sglang.srt.executor.random.uniform, of signed 64-bit integers."""

class Sampler:
    """For logits of one vocabulary; one call at a time. All arrays are C-contiguous. Raises ValueError, and writes
    nothing, if sizes do not fit together or a token id is not in the vocabulary.

    ``top_ids`` and ``top_logprobs`` have min(number of alternatives, vocab_size) entries for each row that asks for
    any.
    """

    def __init__(self, level: str, pool: ThreadPool, vocab_size: int) -> None: ...
    def sample(
        self,
        logits: npt.NDArray[np.float32],
        rows: bytes,
        row_ids: npt.NDArray[np.int64],
        biases: npt.NDArray[np.float32],
        masks: npt.NDArray[np.uint32],
        token_ids: npt.NDArray[np.int64],
        values: npt.NDArray[np.float64],
        top_ids: npt.NDArray[np.int64],
        top_logprobs: npt.NDArray[np.float64],
    ) -> None:
        """rows: a packed SamplingRow of csrc/sampling.h for each row; the next three hold what belongs to the rows one
        after the other: ids (biased, prompt, output, banned), biases, mask words. The last four are written:
        token ids (-1: no distribution, -2: dead end), and log-probabilities, or the highest logit where there is no
        token.
        """

    def score(
        self,
        logits: npt.NDArray[np.float32],
        targets: npt.NDArray[np.int64],
        num_top: int,
        logprobs: npt.NDArray[np.float64],
        top_ids: npt.NDArray[np.int64],
        top_logprobs: npt.NDArray[np.float64],
    ) -> None:
        """The last three are written. Where a row is no distribution its log-probability is NaN, its top undefined."""
