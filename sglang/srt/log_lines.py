"""How the lines of a process's log look: when, which process, how serious."""

from __future__ import annotations

import logging


def set_up_log(process: str, level: str) -> None:
    """Have this process's log go to standard error, unless its root logger has handlers already.

    Lines look like ``[2026-11-22 14:03:07 engine] INFO loaded``, by local time. level: a name such as "info".
    """
    format = f"[%(asctime)s {process}] %(levelname)s %(message)s"
    logging.basicConfig(level=level.upper(), format=format, datefmt="%Y-%m-%d %H:%M:%S")
