"""The ``sglang`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from sglang.srt.errors import SglangError
from sglang.version import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 1 for an error that is explained on stderr, 2 for a wrong command line."""
    namespace = _parser().parse_args(argv)
    try:
        result: int = namespace.run(namespace)
    except SglangError as error:
        print(f"sglang: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return result


def _parser() -> argparse.ArgumentParser:
    from sglang.srt.server.arguments import add_engine_arguments, add_server_arguments

    parser = argparse.ArgumentParser(
        prog="sglang",
        description="Run language models on this machine, with every prefix shared between requests.",
        epilog="Try: sglang generate 'The capital of France is'    or: sglang serve",
    )
    parser.add_argument("--version", action="version", version=f"sglang {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="start the HTTP server", description="Start the HTTP server.")
    add_server_arguments(serve)
    add_engine_arguments(serve)
    serve.set_defaults(run=_serve)

    generate = commands.add_parser(
        "generate",
        help="continue a prompt, or answer it, in the terminal",
        description="Answer a prompt in the terminal. Models with a chat template are asked as a chat, unless --raw.",
    )
    generate.add_argument("prompt", help="the text; - reads it from standard input")
    generate.add_argument("--raw", action="store_true", help="continue the text as it is, without the chat template")
    generate.add_argument("--max-new-tokens", type=int, default=256, metavar="N", help="default: %(default)s")
    generate.add_argument("--temperature", type=float, default=0.0, metavar="T",
                          help="0 always takes the most likely token (default: %(default)s)")  # fmt: skip
    generate.add_argument("--top-p", type=float, metavar="P", help="sample from the most likely tokens of this mass")
    generate.add_argument("--top-k", type=int, metavar="K", help="sample from the K most likely tokens")
    generate.add_argument("--seed", type=int, metavar="SEED", help="repeats a sampled answer")
    generate.add_argument("--stop", action="append", metavar="TEXT", help="end before this text; may be repeated")
    add_engine_arguments(generate)
    generate.set_defaults(run=_generate, log_level="error")

    models = commands.add_parser(
        "models", help="list or fetch the models known by name", description="List or fetch the models known by name."
    )
    models.add_argument("action", nargs="?", choices=("list", "fetch"), default="list", help="default: %(default)s")
    models.add_argument("name", nargs="?", default="smollm2", help="of the model to fetch (default: %(default)s)")
    models.set_defaults(run=_models)
    return parser


def _serve(namespace: argparse.Namespace) -> int:
    from sglang.srt.server.arguments import engine_args_from, server_args_from
    from sglang.srt.server.launch import run_server

    run_server(engine_args_from(namespace), server_args_from(namespace))
    return 0


def _generate(namespace: argparse.Namespace) -> int:
    import msgspec

    from sglang.srt.engine import Engine
    from sglang.srt.server.arguments import engine_args_from

    text = sys.stdin.read() if namespace.prompt == "-" else namespace.prompt
    with Engine(**msgspec.structs.asdict(engine_args_from(namespace))) as engine:
        tokenizer = engine.tokenizer
        if namespace.raw or tokenizer.chat_template is None:
            input_ids = tokenizer.encode(text)
        else:
            input_ids = tokenizer.apply_chat_template([{"role": "user", "content": text}])
        shown, result = 0, None
        for result in engine.generate(input_ids=input_ids, sampling_params=_sampling_params(namespace), stream=True):
            print(result["text"][shown:], end="", flush=True)
            shown = len(result["text"])
    print(flush=True)
    if result is not None and result["meta_info"]["finish_reason"]["type"] == "length":
        print(f"[ended after --max-new-tokens {namespace.max_new_tokens}]", file=sys.stderr)
    return 0


def _models(namespace: argparse.Namespace) -> int:
    from sglang.srt.model.source import ALIASES, is_fetched, resolve_model

    if namespace.action == "fetch":
        print(resolve_model(namespace.name))
        return 0
    for alias, model in ALIASES.items():
        state = "fetched" if is_fetched(model) else f"{model.size / 1e6:.0f} MB to fetch"
        print(f"{alias:24} {model.file_name}  ({state})")
    return 0


def _sampling_params(namespace: argparse.Namespace) -> dict[str, Any]:
    given = {
        "max_new_tokens": namespace.max_new_tokens,
        "temperature": namespace.temperature,
        "top_p": namespace.top_p,
        "top_k": namespace.top_k,
        "sampling_seed": namespace.seed,
        "stop": namespace.stop,
    }
    return {name: value for name, value in given.items() if value is not None}


if __name__ == "__main__":
    sys.exit(main())
