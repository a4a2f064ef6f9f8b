"""The ``sglang`` command."""

from __future__ import annotations

import argparse
import difflib
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sglang.srt.errors import InvalidRequestError, SglangError
from sglang.version import __version__

if TYPE_CHECKING:
    from sglang.srt.engine import Engine

DEFAULT_NEW_TOKENS = 256

NO_OPTIONS = ("run", "prompt", "name")
"""What a namespace has beside options."""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 1 for an error that is explained on stderr, 2 for a wrong command line."""
    try:
        namespace = _parse(argv)
        result: int = namespace.run(namespace)
    except SglangError as error:
        print(f"sglang: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left unwritten has somewhere to go
        return 128 + signal.SIGPIPE
    return result


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    from sglang.srt.server.arguments import refuse_published

    parser = _parser()
    namespace, unknown = parser.parse_known_args(argv)
    if unknown:
        refuse_published(unknown)
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{_meant(unknown, namespace)}")
    return namespace


def _meant(unknown: Sequence[str], namespace: argparse.Namespace) -> str:
    """Which option of the command the first unknown one comes close to, if any."""
    options = ["--" + name.replace("_", "-") for name in vars(namespace) if name not in NO_OPTIONS]
    given = next((argument.partition("=")[0] for argument in unknown if argument.startswith("-")), "")
    close = difflib.get_close_matches(given.replace("_", "-"), options, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _parser() -> argparse.ArgumentParser:
    from sglang.srt.server.arguments import add_engine_arguments, add_server_arguments

    parser = argparse.ArgumentParser(
        prog="sglang",
        description="Run language models on this machine, with every prefix shared between requests.",
        epilog="Try: sglang generate 'The capital of France is'    or: sglang serve",
    )
    parser.add_argument("--version", action="version", version=f"sglang {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    serve = commands.add_parser(
        "serve", help="start the HTTP server", description="Start the HTTP server.", allow_abbrev=False
    )
    add_server_arguments(serve)
    add_engine_arguments(serve)
    serve.set_defaults(run=_serve)

    generate = commands.add_parser(
        "generate",
        help="continue a prompt, or answer it, in the terminal",
        description="Answer a prompt in the terminal. Models with a chat template are asked as a chat, unless --raw.",
        allow_abbrev=False,
    )
    generate.add_argument("prompt", help="the text; - reads it from standard input")
    generate.add_argument("--raw", action="store_true", help="continue the text as it is, without the chat template")
    generate.add_argument("--max-new-tokens", type=int, metavar="N",
                          help=f"default: {DEFAULT_NEW_TOKENS}, or as many as fit")  # fmt: skip
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
    models.set_defaults(run=_list_models)
    actions = models.add_subparsers(title="actions", metavar="ACTION")
    actions.add_parser("list", help="say which there are (the default)").set_defaults(run=_list_models)
    fetch = actions.add_parser("fetch", help="fetch one, and say where it is")
    fetch.add_argument("name", nargs="?", default="smollm2", help="default: %(default)s")
    fetch.set_defaults(run=_fetch_model)
    return parser


def _serve(namespace: argparse.Namespace) -> int:
    from sglang.srt.server.arguments import launch_args_from
    from sglang.srt.server.launch import run_server

    run_server(*launch_args_from(namespace))
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
        if not input_ids:
            raise InvalidRequestError("the prompt is empty: there is nothing to continue")
        limit = namespace.max_new_tokens
        if limit is None:
            limit = min(DEFAULT_NEW_TOKENS, max(_room(engine, len(input_ids)), 1))
        finish = _print_answer(engine, input_ids, {**_sampling_params(namespace), "max_new_tokens": limit})
    if finish["type"] == "length":
        is_clipped = namespace.max_new_tokens is None and limit < DEFAULT_NEW_TOKENS
        reason = f"{limit} tokens: no more fit" if is_clipped else f"--max-new-tokens {limit}"
        print(f"[ended after {reason}]", file=sys.stderr)
    return 0


def _room(engine: Engine, num_prompt_tokens: int) -> int:
    """How many tokens can follow these."""
    info = engine.get_server_info()
    return int(min(info["context_length"], info["max_total_tokens"])) - num_prompt_tokens


def _print_answer(engine: Engine, input_ids: list[int], sampling_params: dict[str, Any]) -> dict[str, Any]:
    """Token by token; returns the finish reason."""
    shown = ""
    for result in engine.generate(input_ids=input_ids, sampling_params=sampling_params, stream=True):
        print(result["text"][len(shown) :], end="", flush=True)
        shown = result["text"]
        finish = result["meta_info"]["finish_reason"]
    print(flush=True)
    return dict(finish)


def _fetch_model(namespace: argparse.Namespace) -> int:
    from sglang.srt.model.source import resolve_model

    print(resolve_model(namespace.name))
    return 0


def _list_models(namespace: argparse.Namespace) -> int:
    from sglang.srt.model.source import ALIASES, is_fetched

    for alias, model in ALIASES.items():
        state = "fetched" if is_fetched(model) else f"{model.size / 1e6:.0f} MB to fetch"
        print(f"{alias:24} {model.file_name}  ({state})")
    return 0


def _sampling_params(namespace: argparse.Namespace) -> dict[str, Any]:
    given = {
        "temperature": namespace.temperature,
        "top_p": namespace.top_p,
        "top_k": namespace.top_k,
        "sampling_seed": namespace.seed,
        "stop": namespace.stop,
    }
    return {name: value for name, value in given.items() if value is not None}


if __name__ == "__main__":
    sys.exit(main())
