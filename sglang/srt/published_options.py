"""Options of the published server that are not options here, so that they can be refused by name, or, where they ask
for what is so in any case, accepted. They are listed in published_options.txt.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from sglang.srt.errors import ConfigurationError

_LIST = "published_options.txt"


@dataclass(frozen=True)
class PublishedOption:
    """``accepted`` values change nothing here; ``about`` is what the option is for, or why they change nothing."""

    names: tuple[str, ...]
    accepted: tuple[Any, ...] = ()
    about: str = ""

    @property
    def is_flag(self) -> bool:
        return isinstance(self.accepted[0], bool)

    def check(self, name: str, value: Any) -> None:
        """Raises ConfigurationError unless `value` is accepted."""
        if any(type(value) is type(accepted) and value == accepted for accepted in self.accepted):
            return
        if self.accepted:
            choices = " or ".join(map(repr, self.accepted))
            raise ConfigurationError(f"{name} must be {choices} here, not {value!r}: {self.about}")
        raise ConfigurationError(f"option {name!r} exists in the published SGLang, but not here yet; leave it out")


@lru_cache(maxsize=1)
def published_options() -> dict[str, PublishedOption]:
    """By name, each under all of its names."""
    lines = resources.files("sglang.srt").joinpath(_LIST).read_text(encoding="utf-8").splitlines()
    options = [_parse(line) for line in lines if line and not line.startswith("#")]
    return {name: option for option in options for name in option.names}


def accepted_options() -> list[PublishedOption]:
    """Those with which some value is accepted."""
    return list(dict.fromkeys(option for option in published_options().values() if option.accepted))


def _parse(line: str) -> PublishedOption:
    names, _, rest = line.partition("=")
    values, _, about = rest.partition("#")
    return PublishedOption(
        names=tuple(name.strip() for name in names.split("|")),
        accepted=tuple(json.loads(value) for value in values.split(",") if value.strip()),
        about=about.strip(),
    )
