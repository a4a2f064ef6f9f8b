"""Builds a model and fills it from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from sglang.srt.errors import ModelLoadError
from sglang.srt.model.config import ModelConfig
from sglang.srt.model.layers import checkpoint_tensors
from sglang.srt.model.loader.gguf_weights import iterate_gguf_weights
from sglang.srt.model.loader.safetensors_weights import iterate_safetensors_weights
from sglang.srt.model.models import model_class
from sglang.srt.model.models.llama import LlamaForCausalLM

_MAX_NAMES_SHOWN = 8


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
        _fill(model, iterate_weights(path, config), path, on_progress)
    return model.eval()


def iterate_weights(path: Path, config: ModelConfig) -> Iterator[tuple[str, torch.Tensor]]:
    """(checkpoint name, tensor on cpu of any dtype) of every weight the checkpoint needs to hold.

    Left out are tensors that older versions saved although they follow from the configuration.
    Raises ModelLoadError if the checkpoint cannot be read.
    """
    weights = iterate_safetensors_weights(path) if path.is_dir() else iterate_gguf_weights(path, config)
    for name, weight in weights:
        is_tied_copy = config.tie_word_embeddings and name == "lm_head.weight"
        if not is_tied_copy and not name.endswith(".rotary_emb.inv_freq"):
            yield name, weight


def _allocate(model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """Give every parameter storage, its content undefined; move and convert the buffers."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            storage = torch.empty(parameter.shape, dtype=dtype, device=device)
            setattr(module, name, nn.Parameter(storage, requires_grad=False))
    model.to(device, dtype)


def _fill(
    model: nn.Module,
    weights: Iterator[tuple[str, torch.Tensor]],
    path: Path,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    missing = dict(checkpoint_tensors(model))
    total = sum(target.numel() for target in missing.values())
    done = 0
    unexpected = []
    for name, weight in weights:
        target = missing.pop(name, None)
        if target is None:
            unexpected.append(name)
            continue
        if weight.shape != target.shape or not weight.is_floating_point():
            raise ModelLoadError(
                f"{path}: {name} is {weight.dtype} of shape {tuple(weight.shape)}; "
                f"the configuration needs a floating-point tensor of shape {tuple(target.shape)}"
            )
        target.copy_(weight)
        done += weight.numel()
        if on_progress is not None:
            on_progress(done, total)
    problems = [("missing", list(missing)), ("unexpected", unexpected)]
    if missing or unexpected:
        raise ModelLoadError(f"{path}: " + "; ".join(_listing(kind, names) for kind, names in problems if names))


def _listing(kind: str, names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES_SHOWN} more" if len(names) > _MAX_NAMES_SHOWN else ""
    return f"{kind} weights: {', '.join(names[:_MAX_NAMES_SHOWN])}{more}"
