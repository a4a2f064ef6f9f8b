"""Every option of the engine and the server, with its default and its check. The command line is made from these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec

from sglang.srt.errors import ConfigurationError, did_you_mean, shown
from sglang.srt.published_options import published_options

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
KvCacheDtype = Literal["auto", "bfloat16", "int8"]
SchedulePolicyName = Literal["lpm", "fcfs", "random"]
LogLevel = Literal["debug", "info", "warning", "error"]
RequestLogFormat = Literal["text", "json"]
ToolCallParserName = Literal[
    "deepseekv3", "deepseekv31", "glm45", "hermes", "json", "kimi_k2", "llama3", "mistral", "pythonic", "qwen",
    "qwen25", "qwen3_coder",
]  # fmt: skip
ReasoningParserName = Literal[
    "deepseek-r1", "deepseek-v3", "glm45", "interns1", "kimi", "kimi_k2", "mimo", "mistral", "qwen3", "qwen3-thinking",
    "step3",
]  # fmt: skip

TOOL_CALL_PARSERS = ("auto", *get_args(ToolCallParserName))
REASONING_PARSERS = ("auto", *get_args(ReasoningParserName))

UNLIMITED = -1

REQUEST_LOG_LEVELS = (0, 1, 2, 3)


class EngineArgs(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the engine, named and meant as in the published system. None means: chosen at start.

    model_path: an alias such as ``smollm2``, a .gguf file, a Hugging Face folder, or a hub name.
    dtype: ``auto`` keeps the weights as they are stored, quantised or not; where torch computes, it is float32.
    kv_cache_dtype: of keys and values; ``auto`` is bfloat16, or what torch computes in where it does. ``int8`` takes
        56 % of the memory of bfloat16, with a scale for every 16 dimensions of a head of each token.
    context_length: at most the model's own, which is the default.
    mem_fraction_static: part of the available memory the key/value cache may use.
    max_total_tokens: size of the key/value cache in tokens; given, it replaces the choice by memory.
    max_running_requests: how many requests are computed in one step.
    chunked_prefill_size: how many tokens of prompts a step computes, and beside requests that are being answered a
        quarter of that, or 128 if that is more; -1 for no limit.
    chat_template: a file with a jinja template, or a JSON file with one as "chat_template", instead of the model's own.
    schedule_policy: ``lpm`` serves the longest cached prefix first, ageing so that none starves; ``fcfs`` by arrival;
        ``random`` in an order drawn anew for every step, but whom chance passes over for too long goes first. Without
        the radix cache ``lpm`` is ``fcfs``.
    disable_in_flight_sharing: a prefix is shared from the end of the request that computed it on, instead of from the
        step on in which it is computed.
    random_seed: makes the seeds of requests that bring none repeat from start to start.
    num_threads: compute threads; by default one per core this process may use; at most four per core.
    constrained_json_whitespace_pattern: the ``whitespace_pattern`` of requests that bring none.
    log_requests: writes a line when a request is received and one when it is over to standard error, at any log_level.
    log_requests_level: 0 says how long it took, how many tokens it had, and how it ended; 1 also the sampling
        parameters, 2 also the texts and what errors say, all up to 2,048 characters, and 3 everything in full, with the
        token ids.
    log_requests_format: of a line, ``text`` or ``json``.
    """

    model_path: str
    revision: str | None = None
    dtype: Dtype = "auto"
    kv_cache_dtype: KvCacheDtype = "auto"
    device: str = "auto"
    chat_template: str | None = None
    context_length: int | None = None
    mem_fraction_static: float | None = None
    max_total_tokens: int | None = None
    max_running_requests: int | None = None
    chunked_prefill_size: int | None = None
    schedule_policy: SchedulePolicyName = "lpm"
    disable_radix_cache: bool = False
    disable_in_flight_sharing: bool = False
    random_seed: int | None = None
    num_threads: int | None = None
    constrained_json_whitespace_pattern: str | None = None
    log_level: LogLevel = "info"
    log_requests: bool = False
    log_requests_level: int = 2
    log_requests_format: RequestLogFormat = "text"

    def __post_init__(self) -> None:
        if not isinstance(self.model_path, str) or not self.model_path:
            raise ConfigurationError(f"model_path must name a model, not {self.model_path!r}; try 'smollm2'")
        self._check_choice("dtype", get_args(Dtype))
        self._check_choice("kv_cache_dtype", get_args(KvCacheDtype))
        self._check_choice("schedule_policy", get_args(SchedulePolicyName))
        self._check_choice("log_level", get_args(LogLevel))
        self._check_choice("log_requests_format", get_args(RequestLogFormat))
        if type(self.log_requests_level) is not int or self.log_requests_level not in REQUEST_LOG_LEVELS:
            raise ConfigurationError(f"log_requests_level must be 0 to 3, not {shown(self.log_requests_level)}")
        for name in ("context_length", "max_total_tokens", "max_running_requests", "num_threads"):
            self._check_integer(name, 1)
        if self.chunked_prefill_size != UNLIMITED:
            self._check_integer("chunked_prefill_size", 1, f"{UNLIMITED} (no limit) or ")
        self._check_integer("random_seed", 0)
        fraction = self.mem_fraction_static
        if fraction is not None and not (isinstance(fraction, (int, float)) and 0.0 < fraction < 1.0):
            raise ConfigurationError(f"mem_fraction_static must be between 0 and 1, not {fraction!r}")
        if not isinstance(self.device, str):
            raise ConfigurationError(f"device must be text, not {self.device!r}")
        for name in ("revision", "chat_template", "constrained_json_whitespace_pattern"):
            value = getattr(self, name)
            if not isinstance(value, str | None):
                raise ConfigurationError(f"{name} must be text, not {value!r}")
        for name in ("disable_radix_cache", "disable_in_flight_sharing", "log_requests"):
            self._check_flag(name)

    def _check_flag(self, name: str) -> None:
        value = getattr(self, name)
        if not isinstance(value, bool):
            raise ConfigurationError(f"{name} must be true or false, not {value!r}")

    def _check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        _check_choice(name, getattr(self, name), choices)

    def _check_integer(self, name: str, least: int, otherwise: str = "") -> None:
        """Of 64 bits, as messages need."""
        value = getattr(self, name)
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (is_integer and least <= value < 2**63):
            raise ConfigurationError(f"{name} must be {otherwise}an integer of at least {least}, not {value!r}")


class ServerArgs(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the HTTP side.

    served_model_name: what the model is called in answers; by default its model_path.
    api_key: given, every request but those to /health and /metrics must bring it as a bearer token.
    tool_call_parser: how the model writes calls of tools; ``auto`` goes by its chat template.
    reasoning_parser: how it marks what it thinks before it answers; ``auto`` goes by its chat template, and None
        leaves thoughts in the text.
    """

    host: str = "127.0.0.1"
    port: int = 30000
    served_model_name: str | None = None
    api_key: str | None = None
    tool_call_parser: Literal["auto"] | ToolCallParserName = "auto"
    reasoning_parser: Literal["auto"] | ReasoningParserName | None = None

    def __post_init__(self) -> None:
        for name in ("host", "served_model_name", "api_key"):
            value = getattr(self, name)
            is_absent = value is None and name != "host"
            if not is_absent and not (isinstance(value, str) and value):
                raise ConfigurationError(f"{name} must be non-empty text, not {shown(value)}")
        _check_choice("tool_call_parser", self.tool_call_parser, TOOL_CALL_PARSERS)
        if self.reasoning_parser is not None:
            _check_choice("reasoning_parser", self.reasoning_parser, REASONING_PARSERS)
        if type(self.port) is not int or not 0 <= self.port <= 65535:
            raise ConfigurationError(f"port must be 0 to 65535, not {self.port!r}")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigurationError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def engine_args(**given: Any) -> EngineArgs:
    """EngineArgs from keyword arguments. Raises ConfigurationError naming what is missing, unknown or wrong.

    Beside the fields ``enable_radix_cache`` is taken, the opposite of ``disable_radix_cache``, and options of the
    published system with values that change nothing here.
    """
    options = _without_published(given)
    for name in options:
        if name in ServerArgs.__struct_fields__:
            raise ConfigurationError(f"option {name!r} is for a server; an engine in this process has none")
    return _engine_args(options)


def launch_args(**given: Any) -> tuple[EngineArgs, ServerArgs]:
    """The options of an engine and of the server in front of it, from keyword arguments. Raises as `engine_args`."""
    options = _without_published(given)
    of_server = {name: options.pop(name) for name in ServerArgs.__struct_fields__ if name in options}
    return _engine_args(options), ServerArgs(**of_server)


def _without_published(given: Mapping[str, Any]) -> dict[str, Any]:
    published = published_options()
    for name, value in given.items():
        if name in published:
            published[name].check(name, value)
    if given.get("constrained_json_disable_any_whitespace") and given.get("constrained_json_whitespace_pattern"):
        raise ConfigurationError(
            "constrained_json_disable_any_whitespace says that JSON has no white space, and "
            "constrained_json_whitespace_pattern which it has; leave one out"
        )
    return {name: value for name, value in given.items() if name not in published}


def _engine_args(options: dict[str, Any]) -> EngineArgs:
    if "enable_radix_cache" in options:
        options["disable_radix_cache"] = _disables_radix_cache(options.pop("enable_radix_cache"), options)
    known = EngineArgs.__struct_fields__
    for name in options:
        if name == "model":
            raise ConfigurationError("unknown option 'model'; it is called 'model_path'")
        if name not in known:
            raise ConfigurationError(f"unknown option {name!r}; {did_you_mean(name, known, 'options')}")
    if not options.get("model_path"):
        raise ConfigurationError("model_path is missing; try model_path='smollm2'")
    return EngineArgs(**options)


def _disables_radix_cache(enable: object, options: Mapping[str, Any]) -> bool:
    if not isinstance(enable, bool):
        raise ConfigurationError(f"enable_radix_cache must be true or false, not {enable!r}")
    if options.get("disable_radix_cache", not enable) is enable:
        raise ConfigurationError(f"enable_radix_cache and disable_radix_cache are both {str(enable).lower()}")
    return not enable
