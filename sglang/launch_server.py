"""``python -m sglang.launch_server --model-path smollm2 --port 30000``: the same as ``sglang serve``."""

from __future__ import annotations

import sys

from sglang.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
