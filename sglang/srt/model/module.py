"""The base of layers and models: parts with names, and weights that are only shapes until a loader brings tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, eq=False)
class Parameter:
    """Where a weight will be."""

    shape: tuple[int, ...]


def parameter(*shape: int) -> Any:
    """A Parameter, typed as the tensor that takes its place."""
    return Parameter(shape)


class Module:
    """parameter_names: the attributes that hold weights, or None; a loader sets them. buffer_names: those that hold
    tables computed from the configuration.
    """

    parameter_names: ClassVar[tuple[str, ...]] = ()
    buffer_names: ClassVar[tuple[str, ...]] = ()

    def named_modules(self, path: str = "") -> Iterator[tuple[str, Module]]:
        """This and all parts of it, in the order in which they were assigned."""
        yield path, self
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield from value.named_modules(_join(path, name))
            elif isinstance(value, list):
                for number, part in enumerate(value):
                    yield from part.named_modules(_join(path, f"{name}.{number}"))

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        return self._named(lambda module: module.parameter_names)

    def named_buffers(self) -> Iterator[tuple[str, Any]]:
        return self._named(lambda module: module.buffer_names)

    def _named(self, names_of: Any) -> Iterator[tuple[str, Any]]:
        for path, module in self.named_modules():
            for name in names_of(module):
                if (value := getattr(module, name)) is not None:
                    yield _join(path, name), value


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
