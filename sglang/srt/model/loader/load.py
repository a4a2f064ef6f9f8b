"""Builds a model that torch computes, and fills it from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from sglang.srt.model.config import ModelConfig
from sglang.srt.model.layers import checkpoint_parts
from sglang.srt.model.loader.checkpoint import as_floats, check_float16, iterate_stored_weights
from sglang.srt.model.loader.stored_weights import StoredWeight, match_weights
from sglang.srt.model.models import model_class
from sglang.srt.model.models.llama import LlamaForCausalLM
from sglang.srt.model.module import Module


def load_model(
    path: Path,
    config: ModelConfig,
    dtype: torch.dtype,
    device: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> LlamaForCausalLM:
    """The model with the weights of `path`, ready for inference.

    on_progress(done, total) is called after every tensor with numbers of parameters. Raises ModelLoadError if a weight
    is missing, superfluous, of another shape than the configuration says, or too large for dtype.
    """
    model = model_class(config.architecture)(config)
    allocate(model, dtype, device)
    _fill(model, iterate_stored_weights(path, config), path, on_progress)
    return model


def allocate(model: Module, dtype: torch.dtype, device: str) -> None:
    """Give every parameter storage, its content undefined; make tensors of the buffers."""
    for _, module in model.named_modules():
        for name in module.parameter_names:
            if (parameter := getattr(module, name)) is not None:
                setattr(module, name, torch.empty(parameter.shape, dtype=dtype, device=device))
        for name in module.buffer_names:
            setattr(module, name, torch.from_numpy(getattr(module, name)).to(device, dtype))


def checkpoint_tensors(model: Module) -> dict[str, torch.Tensor]:
    """Of an allocated model: the storage that each tensor of the checkpoint fills, by its name there."""
    tensors = dict(model.named_parameters())
    return {
        part.name: tensors[part.parameter].narrow(0, part.first_row, part.shape[0]) for part in checkpoint_parts(model)
    }


def _fill(
    model: Module,
    weights: Iterator[StoredWeight],
    path: Path,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    targets = checkpoint_tensors(model)
    total = sum(target.numel() for target in targets.values())
    done = 0
    for weight in match_weights({name: tuple(target.shape) for name, target in targets.items()}, weights, path):
        target, values = targets[weight.name], as_floats(weight)
        if target.dtype is torch.float16:
            check_float16(weight.name, values)
        target.copy_(torch.from_numpy(values))
        done += target.numel()
        if on_progress is not None:
            on_progress(done, total)
