"""Names for calls of tools, by which their results are given back."""

from __future__ import annotations

import secrets
import string

_CHARACTERS = string.ascii_letters + string.digits


def new_call_id(length: int) -> str:
    """Short ones are what some models know; long ones say what they are."""
    name = "".join(secrets.choice(_CHARACTERS) for _ in range(length))
    return name if length < 16 else f"call_{name}"
