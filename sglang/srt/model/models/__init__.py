"""Which class computes which architecture. Importing this module imports no model, and no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sglang.srt.errors import ModelLoadError

if TYPE_CHECKING:
    from sglang.srt.model.models.llama import LlamaForCausalLM


def model_class(architecture: str) -> type[LlamaForCausalLM]:
    """The class for a name in ``architectures`` of config.json. Raises ModelLoadError for an unknown one."""
    if architecture in ("LlamaForCausalLM", "MistralForCausalLM"):
        from sglang.srt.model.models.llama import LlamaForCausalLM

        return LlamaForCausalLM
    raise ModelLoadError(f"no model class for architecture {architecture!r}")
