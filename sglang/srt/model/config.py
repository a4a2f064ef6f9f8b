"""What a checkpoint says about its model, from a Hugging Face folder or a GGUF file. Imports no torch.

`load_config` is the one door: what it returns has been checked, and anything that would change the arithmetic but is
not implemented here is refused by name, so that no model runs and answers slightly wrong.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from sglang.srt.errors import ModelLoadError
from sglang.srt.model.loader.gguf_file import GGUFHeader, TensorInfo, map_file, read_gguf_header

SUPPORTED_ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM")
"""Names as in ``architectures`` of config.json; `sglang.srt.model.models` has a class for each."""

_GGUF_ARCHITECTURES = {"llama": "LlamaForCausalLM"}
_SUPPORTED_ACTIVATIONS = ("silu",)
_SUPPORTED_ROPE_TYPES = ("default", "linear", "llama3")
_DEFAULT_ROPE_THETA = 10000.0
_DEFAULT_RMS_NORM_EPS = 1e-6


@dataclass(frozen=True, slots=True)
class LinearRope:
    """Positions divided by factor."""

    factor: float


@dataclass(frozen=True, slots=True)
class Llama3Rope:
    """Long wavelengths divided by factor, short ones kept, those between blended."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True, slots=True)
class FactorsRope:
    """One divisor per frequency, [head_dim / 2]: how a GGUF file stores the outcome of another scaling."""

    factors: tuple[float, ...]


RopeScaling = LinearRope | Llama3Rope | FactorsRope


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Names are those of config.json.

    torch_dtype: what the checkpoint was saved in; None where it does not say.
    eos_token_ids: each of them ends a generation; those of generation_config.json replace those of config.json.
    generation_config: the sampling parameters the model's authors recommend, as they wrote them.
    """

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float = _DEFAULT_RMS_NORM_EPS
    rope_theta: float = _DEFAULT_ROPE_THETA
    rope_scaling: RopeScaling | None = None
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False
    hidden_act: str = "silu"
    torch_dtype: str | None = None
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    generation_config: dict[str, Any] = field(default_factory=dict)


def load_config(path: Path) -> ModelConfig:
    """The configuration of a local checkpoint, a folder or a .gguf file as `resolve_model` returns it.

    Raises ModelLoadError naming the file, the value, and what is supported.
    """
    config = _from_folder(path) if path.is_dir() else _from_gguf(path)
    _check_supported(config, path)
    return config


def _from_folder(folder: Path) -> ModelConfig:
    config_file, generation_file = folder / "config.json", folder / "generation_config.json"
    raw = _Values(_read_json(config_file), config_file)
    generation = _read_json(generation_file) if generation_file.exists() else {}
    _refuse_unimplemented(raw)
    num_heads, hidden_size = raw.integer("num_attention_heads"), raw.integer("hidden_size")
    max_positions = raw.integer("max_position_embeddings", 2048)
    rope_theta, rope_scaling = _rope(raw)
    eos = generation.get("eos_token_id")
    return ModelConfig(
        architecture=_architecture(raw),
        vocab_size=raw.integer("vocab_size"),
        hidden_size=hidden_size,
        intermediate_size=raw.integer("intermediate_size"),
        num_hidden_layers=raw.integer("num_hidden_layers"),
        num_attention_heads=num_heads,
        num_key_value_heads=raw.integer("num_key_value_heads", num_heads),
        head_dim=raw.integer("head_dim", hidden_size // num_heads),
        max_position_embeddings=max_positions,
        rms_norm_eps=raw.number("rms_norm_eps", _DEFAULT_RMS_NORM_EPS),
        rope_theta=rope_theta,
        rope_scaling=rope_scaling,
        attention_bias=raw.flag("attention_bias"),
        mlp_bias=raw.flag("mlp_bias"),
        tie_word_embeddings=raw.flag("tie_word_embeddings"),
        hidden_act=raw.text("hidden_act", "silu"),
        torch_dtype=raw.values.get("dtype") or raw.values.get("torch_dtype"),
        bos_token_id=raw.token_id("bos_token_id"),
        eos_token_ids=raw.token_ids("eos_token_id") if eos is None else _token_ids(eos, generation_file),
        generation_config=generation,
    )


def _architecture(raw: _Values) -> str:
    names = raw.values.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raw.refuse("architectures", f"a list of one of {', '.join(SUPPORTED_ARCHITECTURES)}")
    if names[0] not in SUPPORTED_ARCHITECTURES:
        raise ModelLoadError(_unsupported(raw.origin, "architecture", names[0], SUPPORTED_ARCHITECTURES))
    return str(names[0])


def _refuse_unimplemented(raw: _Values) -> None:
    _architecture(raw)  # before any key that another architecture may lack
    window = raw.values.get("sliding_window")
    if window is not None and raw.integer("sliding_window") < raw.integer("max_position_embeddings", 2048):
        raise ModelLoadError(
            f"{raw.origin}: sliding_window={window} limits attention to fewer tokens than "
            f"max_position_embeddings={raw.values.get('max_position_embeddings')}; only full attention is supported"
        )
    quantization = raw.values.get("quantization_config")
    if quantization is not None:
        method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
        raise ModelLoadError(
            f"{raw.origin}: weights quantised by {method!r} are not supported in safetensors; "
            "use the unquantised checkpoint or a GGUF file"
        )


def _rope(raw: _Values) -> tuple[float, RopeScaling | None]:
    """Base and scaling, from `rope_parameters` as transformers 5 writes it or `rope_theta` and `rope_scaling`."""
    scaling = raw.section("rope_parameters") or raw.section("rope_scaling")
    theta = scaling.number("rope_theta", raw.number("rope_theta", _DEFAULT_ROPE_THETA))
    for part in (raw, scaling):
        if part.number("partial_rotary_factor", 1.0) != 1.0:
            part.refuse("partial_rotary_factor", "1, rotating the whole head")
    rope_type = scaling.text("rope_type", scaling.text("type", "default"))
    if rope_type == "default":
        return theta, None
    if rope_type == "linear":
        return theta, LinearRope(scaling.number("factor"))
    if rope_type == "llama3":
        return theta, _llama3_rope(scaling)
    raise ModelLoadError(_unsupported(raw.origin, "rope type", rope_type, _SUPPORTED_ROPE_TYPES))


def _llama3_rope(scaling: _Values) -> Llama3Rope:
    rope = Llama3Rope(
        factor=scaling.number("factor"),
        low_freq_factor=scaling.number("low_freq_factor"),
        high_freq_factor=scaling.number("high_freq_factor"),
        original_max_position_embeddings=scaling.integer("original_max_position_embeddings"),
    )
    if rope.high_freq_factor <= rope.low_freq_factor:
        scaling.refuse("high_freq_factor", f"more than low_freq_factor={rope.low_freq_factor}")
    return rope


def _from_gguf(path: Path) -> ModelConfig:
    header = read_gguf_header(path)
    name = header.metadata.get("general.architecture")
    if not isinstance(name, str) or name not in _GGUF_ARCHITECTURES:
        raise ModelLoadError(_unsupported(path, "general.architecture", name, _GGUF_ARCHITECTURES))
    raw = _Values(header.metadata, path, f"{name}.")
    tokenizer = _Values(header.metadata, path, "tokenizer.ggml.")
    num_heads, hidden_size = raw.integer("attention.head_count"), raw.integer("embedding_length")
    head_dim = raw.integer("attention.key_length", hidden_size // num_heads)
    for key, expected in (
        ("expert_count", 0),
        ("attention.value_length", head_dim),
        ("rope.dimension_count", head_dim),
    ):
        if raw.values.get(raw.prefix + key, expected) != expected:
            raw.refuse(key, f"{expected}, or absent")
    ends = (tokenizer.token_id(f"{key}_token_id") for key in ("eos", "eot", "eom"))
    tokens = header.metadata.get("tokenizer.ggml.tokens", [])
    return ModelConfig(
        architecture=_GGUF_ARCHITECTURES[name],
        vocab_size=raw.integer("vocab_size", len(tokens) or None),
        hidden_size=hidden_size,
        intermediate_size=raw.integer("feed_forward_length"),
        num_hidden_layers=raw.integer("block_count"),
        num_attention_heads=num_heads,
        num_key_value_heads=raw.integer("attention.head_count_kv", num_heads),
        head_dim=head_dim,
        max_position_embeddings=raw.integer("context_length"),
        rms_norm_eps=raw.number("attention.layer_norm_rms_epsilon"),
        rope_theta=raw.number("rope.freq_base", _DEFAULT_ROPE_THETA),
        rope_scaling=_gguf_rope_scaling(path, raw, header),
        attention_bias="blk.0.attn_q.bias" in header.tensors,
        mlp_bias="blk.0.ffn_down.bias" in header.tensors,
        tie_word_embeddings="output.weight" not in header.tensors,
        bos_token_id=tokenizer.token_id("bos_token_id"),
        eos_token_ids=tuple(dict.fromkeys(end for end in ends if end is not None)),
        generation_config=_gguf_sampling(header.metadata),
    )


def _gguf_rope_scaling(path: Path, raw: _Values, header: GGUFHeader) -> RopeScaling | None:
    factors = header.tensors.get("rope_freqs.weight")
    if factors is not None:
        return FactorsRope(_read_floats(path, factors))
    rope_type = raw.text("rope.scaling.type", "none")
    if rope_type == "none":
        return None
    if rope_type == "linear":
        return LinearRope(raw.number("rope.scaling.factor"))
    raise ModelLoadError(_unsupported(path, "rope.scaling.type", rope_type, ("none", "linear")))


def _read_floats(path: Path, tensor: TensorInfo) -> tuple[float, ...]:
    if tensor.type.name != "F32":
        raise ModelLoadError(f"{path}: {tensor.name} has type {tensor.type.name}; only F32 is supported")
    with map_file(path) as data:
        return struct.unpack_from(f"<{tensor.num_bytes // 4}f", data, tensor.offset)


def _gguf_sampling(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The recommended sampling parameters under the names of generation_config.json."""
    names = {"temperature": "temp", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p"}
    names["repetition_penalty"] = "penalty_repeat"
    keys = {name: f"general.sampling.{key}" for name, key in names.items()}
    return {name: metadata[key] for name, key in keys.items() if key in metadata}


def _check_supported(config: ModelConfig, path: Path) -> None:
    if config.hidden_act not in _SUPPORTED_ACTIVATIONS:
        raise ModelLoadError(_unsupported(path, "hidden_act", config.hidden_act, _SUPPORTED_ACTIVATIONS))
    if config.num_attention_heads % config.num_key_value_heads:
        raise ModelLoadError(
            f"{path}: {config.num_attention_heads} attention heads cannot share "
            f"{config.num_key_value_heads} key/value heads evenly"
        )
    if config.head_dim % 2:
        raise ModelLoadError(f"{path}: rotary positions need an even head_dim, not {config.head_dim}")
    scaling = config.rope_scaling
    if isinstance(scaling, FactorsRope) and len(scaling.factors) != config.head_dim // 2:
        raise ModelLoadError(
            f"{path}: rope_freqs.weight has {len(scaling.factors)} factors; head_dim={config.head_dim} needs "
            f"{config.head_dim // 2}"
        )
    for token_id in config.eos_token_ids:
        if token_id >= config.vocab_size:
            raise ModelLoadError(f"{path}: end token {token_id} is past the vocabulary of {config.vocab_size}")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict):
        raise ModelLoadError(f"{path} must hold a JSON object, not {type(content).__name__}")
    return content


def _unsupported(origin: Path, what: str, value: object, supported: Mapping[str, str] | tuple[str, ...]) -> str:
    return f"{origin}: {what} {value!r} is not supported; supported: {', '.join(supported)}"


def _token_ids(value: object, origin: Path) -> tuple[int, ...]:
    ids = value if isinstance(value, list) else [value]
    if any(not isinstance(token_id, int) or isinstance(token_id, bool) or token_id < 0 for token_id in ids):
        raise ModelLoadError(f"{origin}: eos_token_id must be a token id or a list of them, not {value!r}")
    return tuple(ids)


@dataclass(frozen=True, slots=True)
class _Values:
    """Checked access to the values whose names start with prefix. A null counts as absent; no default, as required.

    Every method raises ModelLoadError naming the file, the key, its value and what it must be.
    """

    values: Mapping[str, Any]
    origin: Path
    prefix: str = ""

    def __bool__(self) -> bool:
        return bool(self.values)

    def integer(self, name: str, default: int | None = None) -> int:
        value = self._get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            self.refuse(name, "a positive integer")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        value = self._get(name, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < float("inf"):
            self.refuse(name, "a positive number")
        return float(value)

    def flag(self, name: str) -> bool:
        value = self._get(name, False)
        if not isinstance(value, bool):
            self.refuse(name, "true or false")
        return value

    def text(self, name: str, default: str) -> str:
        value = self._get(name, default)
        if not isinstance(value, str):
            self.refuse(name, "a string")
        return value

    def token_id(self, name: str) -> int | None:
        value = self.values.get(self.prefix + name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            self.refuse(name, "a token id")
        return value

    def token_ids(self, name: str) -> tuple[int, ...]:
        value = self.values.get(self.prefix + name)
        return () if value is None else _token_ids(value, self.origin)

    def section(self, name: str) -> _Values:
        """The values of a nested object, empty if absent."""
        value = self._get(name, {})
        if not isinstance(value, dict):
            self.refuse(name, "an object")
        return _Values(value, self.origin)

    def refuse(self, name: str, accepted: str) -> NoReturn:
        value = self.values.get(self.prefix + name)
        raise ModelLoadError(f"{self.origin}: {self.prefix + name} must be {accepted}, not {value!r}")

    def _get(self, name: str, default: object) -> Any:
        value = self.values.get(self.prefix + name)
        return default if value is None else value
