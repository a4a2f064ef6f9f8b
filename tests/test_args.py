"""Options of the engine and the server: checks, defaults, and the command line made from them."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec
import pytest

from sglang.srt.args import EngineArgs, ServerArgs, engine_args, launch_args
from sglang.srt.errors import ConfigurationError
from sglang.srt.published_options import accepted_options, published_options
from sglang.srt.server.arguments import (
    add_engine_arguments,
    add_server_arguments,
    engine_args_from,
    launch_args_from,
    refuse_published,
)

FIELDS = EngineArgs.__struct_fields__

REJECTED: list[tuple[str, Any, str]] = [
    ("dtype", "int8", "dtype must be one of auto, float32, bfloat16, float16, not 'int8'"),
    ("kv_cache_dtype", "fp8_e5m2", "kv_cache_dtype must be one of auto, bfloat16, int8, not 'fp8_e5m2'"),
    ("schedule_policy", "LPM", "schedule_policy must be one of lpm, fcfs, random, not 'LPM'"),
    ("log_level", "trace", "log_level must be one of debug, info, warning, error, not 'trace'"),
    ("log_level", None, "log_level must be one of debug, info, warning, error, not None"),
    ("dtype", ["auto"], "dtype must be one of auto, float32, bfloat16, float16, not ['auto']"),
    ("context_length", 0, "context_length must be an integer of at least 1, not 0"),
    ("context_length", 1.5, "context_length must be an integer of at least 1, not 1.5"),
    ("max_total_tokens", True, "max_total_tokens must be an integer of at least 1, not True"),
    ("max_running_requests", -1, "max_running_requests must be an integer of at least 1, not -1"),
    ("num_threads", "4", "num_threads must be an integer of at least 1, not '4'"),
    ("chunked_prefill_size", 0, "chunked_prefill_size must be -1 (no limit) or an integer of at least 1, not 0"),
    ("chunked_prefill_size", -2, "chunked_prefill_size must be -1 (no limit) or an integer of at least 1, not -2"),
    ("mem_fraction_static", 0.0, "mem_fraction_static must be between 0 and 1, not 0.0"),
    ("mem_fraction_static", 1, "mem_fraction_static must be between 0 and 1, not 1"),
    ("mem_fraction_static", "0.5", "mem_fraction_static must be between 0 and 1, not '0.5'"),
    ("mem_fraction_static", float("nan"), "mem_fraction_static must be between 0 and 1, not nan"),
    ("random_seed", -1, "random_seed must be an integer of at least 0, not -1"),
    ("random_seed", 0.5, "random_seed must be an integer of at least 0, not 0.5"),
    ("random_seed", 2**63, f"random_seed must be an integer of at least 0, not {2**63}"),
    ("random_seed", True, "random_seed must be an integer of at least 0, not True"),
    ("model_path", 3, "model_path must name a model, not 3; try 'smollm2'"),
    ("revision", 3, "revision must be text, not 3"),
    ("chat_template", 3, "chat_template must be text, not 3"),
    ("device", None, "device must be text, not None"),
    ("disable_radix_cache", "no", "disable_radix_cache must be true or false, not 'no'"),
    ("disable_in_flight_sharing", 1, "disable_in_flight_sharing must be true or false, not 1"),
    ("log_requests", "yes", "log_requests must be true or false, not 'yes'"),
    ("log_requests_level", 4, "log_requests_level must be 0 to 3, not 4"),
    ("log_requests_level", True, "log_requests_level must be 0 to 3, not True"),
    ("log_requests_format", "xml", "log_requests_format must be one of text, json, not 'xml'"),
    (
        "log_requests_target",
        ["stdout"],
        "option 'log_requests_target' exists in the published SGLang, but not here yet; leave it out",
    ),
    ("max_total_token", 5, "unknown option 'max_total_token'; did you mean 'max_total_tokens'?"),
    ("model", "m", "unknown option 'model'; it is called 'model_path'"),
    ("port", 5, "option 'port' is for a server; an engine in this process has none"),
    ("enable_radix_cache", "no", "enable_radix_cache must be true or false, not 'no'"),
    ("tp_size", 2, "tp_size must be 1 here, not 2: tensor parallelism is not available yet"),
    ("tp", True, "tp must be 1 here, not True: tensor parallelism is not available yet"),
    ("base_gpu_id", 1, "base_gpu_id must be 0 here, not 1: choosing among devices is not available yet"),
    (
        "enable_torch_compile",
        True,
        "enable_torch_compile must be False here, not True: compiling the model is not available yet",
    ),
    ("enable_metrics", False, "enable_metrics must be True here, not False: /metrics is always there"),
    ("quantization", "fp8", "option 'quantization' exists in the published SGLang, but not here yet; leave it out"),
    ("xyzzy", 5, f"unknown option 'xyzzy'; known options: {', '.join(FIELDS)}"),
]

ACCEPTED: list[tuple[str, Any]] = [
    ("chunked_prefill_size", -1),
    ("chunked_prefill_size", 1),
    ("mem_fraction_static", 0.01),
    ("random_seed", 0),
    ("context_length", 1),
    ("dtype", "bfloat16"),
    ("kv_cache_dtype", "int8"),
]

NOT_DEFAULT = {
    "model_path": "some/model.gguf",
    "revision": "v2",
    "dtype": "bfloat16",
    "kv_cache_dtype": "int8",
    "device": "elsewhere",
    "chat_template": "template.jinja",
    "context_length": 1000,
    "mem_fraction_static": 0.25,
    "max_total_tokens": 2000,
    "max_running_requests": 7,
    "chunked_prefill_size": -1,
    "schedule_policy": "fcfs",
    "disable_radix_cache": True,
    "disable_in_flight_sharing": True,
    "random_seed": 11,
    "num_threads": 3,
    "constrained_json_whitespace_pattern": "[ ]?",
    "log_level": "debug",
    "log_requests": True,
    "log_requests_level": 0,
    "log_requests_format": "json",
}


def parser() -> argparse.ArgumentParser:
    built = argparse.ArgumentParser(exit_on_error=False)
    add_server_arguments(built)
    add_engine_arguments(built)
    return built


def command_line(values: dict[str, Any]) -> list[str]:
    words = []
    for name, value in values.items():
        option = "--" + name.replace("_", "-")
        words += [option] if value is True else [option, str(value)]
    return words


@pytest.mark.parametrize(("name", "value", "message"), REJECTED)
def test_rejected(name: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        engine_args(**{"model_path": "m", name: value})
    assert str(caught.value) == message


@pytest.mark.parametrize(("name", "value"), ACCEPTED)
def test_accepted(name: str, value: Any) -> None:
    assert getattr(engine_args(model_path="m", **{name: value}), name) == value


@pytest.mark.parametrize("given", [{}, {"model_path": None}, {"model_path": ""}, {"log_level": "info"}])
def test_a_missing_model_is_named(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"^model_path is missing; try model_path='smollm2'$"):
        engine_args(**given)


def test_the_class_checks_as_the_function_does() -> None:
    with pytest.raises(ConfigurationError, match="context_length"):
        EngineArgs(model_path="m", context_length=0)
    with pytest.raises(ConfigurationError, match="model_path must name a model"):
        EngineArgs(model_path="")


def test_defaults() -> None:
    assert msgspec.to_builtins(engine_args(model_path="m")) == {
        "model_path": "m",
        "revision": None,
        "dtype": "auto",
        "kv_cache_dtype": "auto",
        "device": "auto",
        "chat_template": None,
        "context_length": None,
        "mem_fraction_static": None,
        "max_total_tokens": None,
        "max_running_requests": None,
        "chunked_prefill_size": None,
        "schedule_policy": "lpm",
        "disable_radix_cache": False,
        "disable_in_flight_sharing": False,
        "random_seed": None,
        "num_threads": None,
        "constrained_json_whitespace_pattern": None,
        "log_level": "info",
        "log_requests": False,
        "log_requests_level": 2,
        "log_requests_format": "text",
    }


def test_arguments_are_frozen() -> None:
    with pytest.raises(AttributeError):
        engine_args(model_path="m").dtype = "float32"  # type: ignore[misc]


@pytest.mark.parametrize("port", [-1, 65536, "30000", None, True])
def test_server_port_out_of_range(port: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^port must be 0 to 65535, not {port!r}$"):
        ServerArgs(port=port)


@pytest.mark.parametrize("name", ["tool_call_parser", "reasoning_parser"])
def test_a_parser_has_a_known_name(name: str) -> None:
    known: dict[str, Any] = {name: "mistral"}
    unknown: dict[str, Any] = {name: "gpt5"}
    assert getattr(ServerArgs(**known), name) == "mistral"
    with pytest.raises(ConfigurationError, match=f"^{name} must be one of auto, .*mistral.*, not 'gpt5'$"):
        ServerArgs(**unknown)


def test_an_empty_command_line_gives_the_defaults() -> None:
    namespace = parser().parse_args([])
    assert engine_args_from(namespace) == engine_args(model_path="smollm2")
    assert launch_args_from(namespace) == (engine_args(model_path="smollm2"), ServerArgs())


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_has_an_option(name: str) -> None:
    value = NOT_DEFAULT[name]
    given = engine_args_from(parser().parse_args(command_line({name: value})))
    expected = engine_args(**{"model_path": "smollm2", name: value})
    assert given == expected != engine_args(model_path="smollm2")


def test_all_options_at_once() -> None:
    of_server: dict[str, Any] = {"host": "0.0.0.0", "port": 0, "served_model_name": "name", "api_key": "key"}
    of_server |= {"tool_call_parser": "llama3", "reasoning_parser": "auto"}
    words = command_line({**NOT_DEFAULT, **of_server})
    namespace = parser().parse_args(words)
    assert msgspec.structs.asdict(engine_args_from(namespace)) == NOT_DEFAULT
    assert launch_args_from(namespace) == launch_args(**NOT_DEFAULT, **of_server)
    assert launch_args(**NOT_DEFAULT, **of_server)[1] == ServerArgs(**of_server)


def test_every_option_is_a_field() -> None:
    """And so no option is accepted and then ignored."""
    known = {*FIELDS, *ServerArgs.__struct_fields__, "help", "enable_radix_cache"}
    without_effect = {option.names[0] for option in accepted_options() if not option.is_flag or True in option.accepted}
    assert {action.dest for action in parser()._actions} == known | without_effect


def test_every_option_is_explained() -> None:
    silent = [action.dest for action in parser()._actions if not action.help]
    assert not silent


def test_the_short_name_of_the_model_option() -> None:
    assert engine_args_from(parser().parse_args(["--model", "m"])).model_path == "m"


def test_a_value_out_of_range_on_the_command_line() -> None:
    with pytest.raises(ConfigurationError, match="context_length"):
        engine_args_from(parser().parse_args(["--context-length", "0"]))
    with pytest.raises(ConfigurationError, match="port"):
        launch_args_from(parser().parse_args(["--port", "70000"]))
    with pytest.raises(argparse.ArgumentError, match="invalid choice: 'int8'"):
        parser().parse_args(["--dtype", "int8"])


# --- other names, and the options of the published system ------------------------------------------------------------


@pytest.mark.parametrize("enable", [True, False])
def test_enabling_the_cache_is_the_opposite_of_disabling_it(enable: bool) -> None:
    expected = engine_args(model_path="m", disable_radix_cache=not enable)
    assert engine_args(model_path="m", enable_radix_cache=enable) == expected
    assert engine_args(model_path="m", enable_radix_cache=enable, disable_radix_cache=not enable) == expected
    with pytest.raises(ConfigurationError, match=f"are both {str(enable).lower()}$"):
        engine_args(model_path="m", enable_radix_cache=enable, disable_radix_cache=enable)


def test_the_cache_on_the_command_line() -> None:
    assert engine_args_from(parser().parse_args(["--enable-radix-cache"])) == engine_args(model_path="smollm2")
    with pytest.raises(ConfigurationError, match="are both true"):
        engine_args_from(parser().parse_args(["--enable-radix-cache", "--disable-radix-cache"]))


@pytest.mark.parametrize("name", ["host", "served_model_name", "api_key"])
@pytest.mark.parametrize("value", ["", 3])
def test_a_text_of_the_server_that_is_none(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name} must be non-empty text, not {value!r}$"):
        launch_args(model_path="m", **{name: value})


def test_the_server_without_a_host() -> None:
    with pytest.raises(ConfigurationError, match="host must be non-empty text, not None"):
        launch_args(model_path="m", host=None)


def test_a_published_option_is_either_here_or_refused_or_without_effect() -> None:
    ours = {*FIELDS, *ServerArgs.__struct_fields__, "enable_radix_cache"}
    published = published_options()
    assert not ours & published.keys()
    assert len(published) > 440
    for name, option in published.items():
        for value in option.accepted:
            assert engine_args(model_path="m", **{name: value}) == engine_args(model_path="m")
        with pytest.raises(ConfigurationError, match=f"{name}\\b"):
            engine_args(model_path="m", **{name: "something"})


def test_published_options_on_the_command_line() -> None:
    words = [
        "--tp",
        "1",
        "--tensor-parallel-size",
        "1",
        "--base-gpu-id",
        "0",
        "--enable-metrics",
        "--trust-remote-code",
    ]
    assert engine_args_from(parser().parse_args(words)) == engine_args(model_path="smollm2")
    with pytest.raises(ConfigurationError, match="tp_size must be 1 here, not 2"):
        engine_args_from(parser().parse_args(["--tp", "2"]))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--quantization", "option 'quantization' exists in the published SGLang"),
        ("--speculative-num-steps=3", "option 'speculative_num_steps' exists in the published SGLang"),
        ("--enable-torch-compile", "enable_torch_compile must be False here"),
    ],
)
def test_words_that_the_parser_does_not_know(word: str, message: str) -> None:
    refuse_published(["--unheard-of", "quantization", "x"])
    with pytest.raises(ConfigurationError, match=message):
        refuse_published(["--unheard-of", word])


def test_white_space_and_none_at_once_are_refused() -> None:
    pattern = {"model_path": "m", "constrained_json_whitespace_pattern": "[ ]?"}
    assert engine_args(**pattern, constrained_json_disable_any_whitespace=False) == engine_args(**pattern)
    with pytest.raises(ConfigurationError, match="leave one out"):
        engine_args(**pattern, constrained_json_disable_any_whitespace=True)
