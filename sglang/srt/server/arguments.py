"""The command line of the server and the engine, made from the argument classes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, get_args

import msgspec

from sglang.srt.args import (
    REASONING_PARSERS,
    REQUEST_LOG_LEVELS,
    TOOL_CALL_PARSERS,
    Dtype,
    EngineArgs,
    KvCacheDtype,
    LogLevel,
    RequestLogFormat,
    SchedulePolicyName,
    ServerArgs,
    engine_args,
    launch_args,
)
from sglang.srt.published_options import PublishedOption, accepted_options, published_options


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """One option per field of EngineArgs; an option that is not given keeps the field's default."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(EngineArgs)}
    model, memory, schedule, other = (
        parser.add_argument_group(title) for title in ("model", "memory", "scheduling", "other")
    )
    model.add_argument(
        "--model-path", "--model", metavar="MODEL", default="smollm2",
        help="an alias (smollm2), a .gguf file, a Hugging Face folder, or a hub name (default: %(default)s)",
    )  # fmt: skip
    model.add_argument("--revision", help="branch, tag or commit of a hub model")
    model.add_argument("--dtype", choices=get_args(Dtype), default=defaults["dtype"],
                       help="of weights; auto keeps them as they are stored (default: %(default)s)")  # fmt: skip
    memory.add_argument("--kv-cache-dtype", choices=get_args(KvCacheDtype), default=defaults["kv_cache_dtype"],
                        help="of keys and values; auto is bfloat16 (default: %(default)s)")  # fmt: skip
    model.add_argument("--device", default=defaults["device"], help="default: %(default)s")
    model.add_argument("--chat-template", metavar="FILE",
                       help="a jinja template, or JSON with a chat_template, instead of the model's own")  # fmt: skip
    model.add_argument("--context-length", type=int, metavar="TOKENS", help="default: the model's own")
    memory.add_argument("--mem-fraction-static", type=float, metavar="F",
                        help="part of the available memory for the key/value cache")  # fmt: skip
    memory.add_argument("--max-total-tokens", type=int, metavar="TOKENS", help="size of the key/value cache")
    memory.add_argument("--enable-radix-cache", action="store_true", default=None,
                        help="share prefixes between requests (the default)")  # fmt: skip
    memory.add_argument("--disable-radix-cache", action="store_true", help="share no prefixes between requests")
    memory.add_argument("--disable-in-flight-sharing", action="store_true",
                        help="share a prefix only once the request that computed it has ended")  # fmt: skip
    schedule.add_argument("--max-running-requests", type=int, metavar="N", help="requests computed in one step")
    schedule.add_argument("--chunked-prefill-size", type=int, metavar="TOKENS",
                          help="token budget of a step; -1 for no limit")  # fmt: skip
    schedule.add_argument("--schedule-policy", choices=get_args(SchedulePolicyName),
                          default=defaults["schedule_policy"],
                          help="longest cached prefix first, by arrival, or random (default: %(default)s)")  # fmt: skip
    other.add_argument("--random-seed", type=int, metavar="SEED", help="for requests that bring no seed")
    other.add_argument("--num-threads", type=int, metavar="N", help="compute threads; default: one per core")
    other.add_argument("--constrained-json-whitespace-pattern", metavar="REGEX",
                       help="white space between the tokens of JSON by a schema; default: none")  # fmt: skip
    other.add_argument("--log-level", choices=get_args(LogLevel), default=defaults["log_level"],
                       help="default: %(default)s")  # fmt: skip
    other.add_argument("--log-requests", action="store_true",
                       help="a line when a request is received, and one when it is over")  # fmt: skip
    other.add_argument("--log-requests-level", type=int, choices=REQUEST_LOG_LEVELS,
                       default=defaults["log_requests_level"],
                       help="0: times, token counts, endings; 1: also sampling parameters; 2: also texts, cut short; "
                       "3: all in full (default: %(default)s)")  # fmt: skip
    other.add_argument("--log-requests-format", choices=get_args(RequestLogFormat),
                       default=defaults["log_requests_format"], help="of a line (default: %(default)s)")  # fmt: skip
    compatible = parser.add_argument_group("accepted for compatibility, and without effect")
    for option in accepted_options():
        _add_accepted(compatible, option)


def _add_accepted(group: argparse._ArgumentGroup, option: PublishedOption) -> None:
    flags = [_flag(name) for name in option.names]
    if not option.is_flag:
        kind, (only,) = type(option.accepted[0]), option.accepted
        text = f"only {only}: {option.about}"
        group.add_argument(*flags, type=kind, metavar="N", default=argparse.SUPPRESS, help=text)
    elif True in option.accepted:
        group.add_argument(*flags, action="store_true", default=argparse.SUPPRESS, help=option.about)


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("server")
    group.add_argument("--host", default=ServerArgs().host, help="address to listen on (default: %(default)s)")
    group.add_argument("--port", type=int, default=ServerArgs().port, help="0 for any free one (default: %(default)s)")
    group.add_argument("--served-model-name", metavar="NAME", help="of the model in answers; default: its path")
    group.add_argument("--tool-call-parser", metavar="FORMAT", choices=TOOL_CALL_PARSERS,
                       default=ServerArgs().tool_call_parser,
                       help="how the model writes calls of tools: " + ", ".join(TOOL_CALL_PARSERS)
                       + "; auto goes by the chat template (default: %(default)s)")  # fmt: skip
    group.add_argument("--reasoning-parser", metavar="FORMAT", choices=REASONING_PARSERS,
                       help="how the model marks its thoughts: " + ", ".join(REASONING_PARSERS)
                       + "; auto goes by the chat template (default: thoughts stay in the text)")  # fmt: skip
    group.add_argument("--api-key", metavar="KEY", help="that requests must bring as a bearer token; default: none")


def engine_args_from(namespace: argparse.Namespace) -> EngineArgs:
    """Raises ConfigurationError for a value out of range."""
    return engine_args(**_given(namespace, EngineArgs.__struct_fields__))


def launch_args_from(namespace: argparse.Namespace) -> tuple[EngineArgs, ServerArgs]:
    """Raises ConfigurationError for a value out of range."""
    return launch_args(**_given(namespace, (*EngineArgs.__struct_fields__, *ServerArgs.__struct_fields__)))


def refuse_published(words: Sequence[str]) -> None:
    """Of words that the parser did not know: raises ConfigurationError for an option of the published system."""
    options = published_options()
    for word in words:
        name = word.removeprefix("--").partition("=")[0].replace("-", "_")
        if word.startswith("--") and name in options:
            options[name].check(name, True)


def _given(namespace: argparse.Namespace, fields: Sequence[str]) -> dict[str, Any]:
    given = vars(namespace)
    published = [name for option in accepted_options() for name in option.names]
    names = [name for name in (*fields, *published) if name in given]
    if namespace.enable_radix_cache is not None:
        names.append("enable_radix_cache")
    return {name: given[name] for name in names}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
