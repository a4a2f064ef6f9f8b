"""Builds a model and fills it from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from gguf import GGMLQuantizationType, dequantize
from torch import nn

from sglang.srt.errors import ModelLoadError
from sglang.srt.model.config import ModelConfig
from sglang.srt.model.layers import checkpoint_tensors
from sglang.srt.model.loader.gguf_weights import iterate_gguf_weights
from sglang.srt.model.loader.safetensors_weights import iterate_safetensors_weights
from sglang.srt.model.loader.stored_weights import StoredWeight, is_wanted, match_weights
from sglang.srt.model.models import model_class
from sglang.srt.model.models.llama import LlamaForCausalLM


def load_model(
    path: Path,
    config: ModelConfig,
    dtype: torch.dtype,
    device: torch.device,
    on_progress: Callable[[int, int], None] | None = None,
) -> LlamaForCausalLM:
    """The model with the weights of `path`, ready for inference.

    on_progress(done, total) is called after every tensor with numbers of parameters. Raises ModelLoadError if a weight
    is missing, superfluous, or of another shape than the configuration says.
    """
    with torch.device("meta"):
        model = model_class(config.architecture)(config)
    _allocate(model, dtype, device)
    with torch.inference_mode():
        _fill(model, iterate_stored_weights(path, config), path, on_progress)
    return model.eval()


def iterate_stored_weights(path: Path, config: ModelConfig) -> Iterator[StoredWeight]:
    """Every weight that the checkpoint needs to hold, as it is stored. Raises ModelLoadError if it cannot be read."""
    weights = iterate_safetensors_weights(path) if path.is_dir() else iterate_gguf_weights(path, config)
    return (weight for weight in weights if is_wanted(weight.name, config))


def as_floats(weight: StoredWeight) -> npt.NDArray[np.float32]:
    """Its values, in its shape. Raises ModelLoadError for a type without a dequantiser."""
    if weight.type is GGMLQuantizationType.F64:
        return weight.blocks.view(np.float64).astype(np.float32).reshape(weight.shape)
    try:
        values = dequantize(weight.blocks, weight.type)
    except NotImplementedError as error:
        raise ModelLoadError(f"{weight.name} has type {weight.type.name}: {error}") from error
    return np.require(values, np.float32, ["C", "W"]).reshape(weight.shape)


def _allocate(model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """Give every parameter storage, its content undefined; move and convert the buffers."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            storage = torch.empty(parameter.shape, dtype=dtype, device=device)
            setattr(module, name, nn.Parameter(storage, requires_grad=False))
    model.to(device, dtype)


def _fill(
    model: nn.Module,
    weights: Iterator[StoredWeight],
    path: Path,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    targets = checkpoint_tensors(model)
    total = sum(target.numel() for target in targets.values())
    done = 0
    for weight in match_weights({name: tuple(target.shape) for name, target in targets.items()}, weights, path):
        target = targets[weight.name]
        target.copy_(torch.from_numpy(as_floats(weight)))
        done += target.numel()
        if on_progress is not None:
            on_progress(done, total)
