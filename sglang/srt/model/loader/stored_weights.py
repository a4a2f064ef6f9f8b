"""Weights in the form in which a checkpoint stores them, whatever kind of checkpoint it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType

from sglang.srt.errors import ModelLoadError
from sglang.srt.model.config import ModelConfig

_MAX_NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """name and the order of rows are those of a Hugging Face checkpoint; the type is called as in GGUF.

    blocks: [shape[0], bytes per row] uint8, for vectors [shape[0], bytes per element].
    """

    name: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType
    blocks: npt.NDArray[np.uint8]


class Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


N = TypeVar("N", bound=Named)


def is_wanted(name: str, config: ModelConfig) -> bool:
    """Not wanted are tensors that some checkpoints hold although they follow from the configuration."""
    is_tied_copy = config.tie_word_embeddings and name == "lm_head.weight"
    return not is_tied_copy and not name.endswith(".rotary_emb.inv_freq")


def match_weights(shapes: Mapping[str, tuple[int, ...]], weights: Iterable[N], path: Path) -> Iterator[N]:
    """The weights, each checked to be one of those wanted, which are given by name and shape.

    Raises ModelLoadError for a wrong shape, and at the end for what was missing or superfluous.
    """
    missing = dict(shapes)
    unexpected = []
    for weight in weights:
        shape = missing.pop(weight.name, None)
        if shape is None:
            unexpected.append(weight.name)
            continue
        if weight.shape != shape:
            raise ModelLoadError(
                f"{path}: {weight.name} has shape {weight.shape}; the configuration needs shape {shape}"
            )
        yield weight
    problems = [("missing", list(missing)), ("unexpected", unexpected)]
    if missing or unexpected:
        raise ModelLoadError(f"{path}: " + "; ".join(_listing(kind, names) for kind, names in problems if names))


def _listing(kind: str, names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES_SHOWN} more" if len(names) > _MAX_NAMES_SHOWN else ""
    return f"{kind} weights: {', '.join(names[:_MAX_NAMES_SHOWN])}{more}"
