"""``python -m sglang``: the ``sglang`` command where it is not on the path."""

from __future__ import annotations

import sys

from sglang.cli import main

if __name__ == "__main__":
    sys.exit(main())
