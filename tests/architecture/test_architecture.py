"""The rules of design.md that a reader would otherwise have to take on trust, checked on the source itself.

Every import counts: at the top of a file, inside a function, under TYPE_CHECKING, relative, or by name through
importlib. Not counted is what Python adds by itself, that importing a.b also runs a/__init__.py.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

import sglang
from sglang.srt.kernels.native import usable_levels

ROOT = Path(sglang.__file__).parent

# --- the rules ------------------------------------------------------------------------------------------------------

WORDS = ("errors", "published_options", "args", "device", "sampling_params", "messages", "frames", "log_lines", "vocab")
LEVELS: tuple[tuple[str, ...], ...] = (
    ("sglang.version", *(f"sglang.srt.{word}" for word in WORDS)),
    ("sglang.srt.kernels",),
    ("sglang.srt.cache",),
    ("sglang.srt.grammar",),
    ("sglang.srt.formats",),
    ("sglang.srt.model",),
    ("sglang.srt.executor",),
    ("sglang.srt.scheduler",),
    ("sglang.srt.tokenizer",),
    ("sglang.srt.select",),
    ("sglang.srt.engine", "sglang.srt.server"),
    ("sglang.cli",),
    ("sglang.launch_server", "sglang.__main__", "sglang"),
)
"""Packages and modules, lowest first. What is here may import itself and lower levels. L0 modules may import each
other as well; the engine and the server, being two doors, may not."""

TEXT_SIDE = (
    "sglang.srt.tokenizer",
    "sglang.srt.select",
    "sglang.srt.engine",
    "sglang.srt.server",
    "sglang.cli",
    "sglang.launch_server",
    "sglang.__main__",
)
SHARED_WITH_TEXT_SIDE = (
    "sglang.version",
    *(f"sglang.srt.{word}" for word in WORDS if word != "device"),
    "sglang.srt.grammar",
    "sglang.srt.formats",
    "sglang.srt.model.config",
    "sglang.srt.model.source",
    "sglang.srt.model.loader.gguf_file",
    "sglang.srt.executor.random",
)
"""All that the text side may know of the rest; it speaks to the engine process by messages."""

HEAVY = ("torch", "transformers")

LANGUAGE = "sglang.lang"
MAY_RUN_PROGRAMS = ("sglang.srt.server", "sglang.cli", "sglang")
"""The only ones that may import the language."""
OUTSIDE_LANGUAGE = ("sglang.version", "sglang.srt.errors")
"""All that the language may import of the rest. What it needs of a runtime it is given, as a backend."""

DEVICE_PLACES = ("sglang.srt.device", "sglang.srt.kernels", "sglang.srt.model.attention")
DEVICE_WORDS = re.compile(r"(?<![a-z])(cuda|cpu|gpu|mps|xpu|pin_memory)s?(?![a-z])")
NO_DEVICE = "meta"

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 450
MAX_PARAMETERS = 9
MANY_PARAMETERS = {
    "sglang.lang.api.gen": "the published signature",
    "sglang.srt.engine.Engine.generate": "the published signature",
    "sglang.srt.engine.Engine.async_generate": "the published signature",
    "sglang.srt.tokenizer.call.NativeInput.__init__": "the fields of the published /generate",
}

UNSAFE_MODULES = ("pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve")
UNSAFE_CALLS = ("eval", "exec")
BROAD = ("Exception", "BaseException")

WITHOUT_DOCSTRING = ("sglang.version",)


# --- the source -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Import:
    target: str  # full name of what is imported: a module, or a name in one
    line: int


@dataclass(frozen=True)
class Module:
    name: str
    source: str
    is_package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def package(self) -> str:
        return self.name if self.is_package else self.name.rpartition(".")[0]

    def at(self, line: int) -> str:
        path = self.name.replace(".", "/") + ("/__init__.py" if self.is_package else ".py")
        return f"{path}:{line}"

    def imports(self) -> Iterator[Import]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (Import(alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute("." * node.level + (node.module or ""))
                yield from (Import(f"{base}.{alias.name}", node.lineno) for alias in node.names)
            elif isinstance(node, ast.Call) and _last_name(node.func) in ("import_module", "__import__"):
                yield from self._imports_by_name(node)

    def _imports_by_name(self, call: ast.Call) -> Iterator[Import]:
        """Of a name that is computed it is known only that it comes from one of the strings of the module."""
        name = call.args[0] if call.args else None
        if isinstance(name, ast.Constant):
            yield Import(self._absolute(str(name.value)), call.lineno)
            return
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("sglang."):
                yield Import(node.value, node.lineno)

    def _absolute(self, name: str) -> str:
        relative = name.lstrip(".")
        climb = len(name) - len(relative)
        if not climb:
            return name
        parts = self.package.split(".")
        return ".".join([*parts[: len(parts) - climb + 1], *filter(None, [relative])])


def _load() -> dict[str, Module]:
    modules = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules[name] = Module(name, path.read_text(), is_package)
    return modules


MODULES = _load()


def _last_name(node: ast.AST) -> str | None:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


def _inside(name: str, places: Sequence[str]) -> bool:
    """Whether `name` is one of `places` or lies in one."""
    return any(name == place or name.startswith(place + ".") for place in places)


def _home(name: str) -> str | None:
    """The entry of LEVELS that `name` belongs to. The package sglang itself is only its __init__."""
    entries = [entry for level in LEVELS for entry in level if entry != "sglang"]
    return next((entry for entry in entries if _inside(name, [entry])), "sglang" if name == "sglang" else None)


def _level(name: str) -> int | None:
    home = _home(name)
    return next((number for number, level in enumerate(LEVELS) if home in level), None)


def own_imports(module: Module, known: dict[str, Module]) -> Iterator[Import]:
    """The modules of `known` that `module` imports: of ``from a import b`` a.b if that is a module, otherwise a."""
    for found in module.imports():
        target = found.target
        while target not in known and "." in target:
            target = target.rpartition(".")[0]
        if target in known and target != module.name:
            yield Import(target, found.line)


def _problems(check: Callable[[Module], Iterator[str]]) -> str:
    """What `check` finds in the whole source, a line each; empty if nothing."""
    return "".join(f"\n  {problem}" for module in MODULES.values() for problem in check(module))


# --- imports --------------------------------------------------------------------------------------------------------


def upward_imports(module: Module, known: dict[str, Module]) -> Iterator[str]:
    """Imports that go up, or sideways between packages."""
    home, level = _home(module.name), _level(module.name)
    for found in own_imports(module, known):
        other, other_level = _home(found.target), _level(found.target)
        if level is None or other_level is None:  # the language, which has its own rule
            continue
        if other_level > level or (other_level == level > 0 and other != home):
            yield f"{module.at(found.line)} imports {found.target}, which is not below {home}"


def foreign_imports_of_text_side(module: Module, known: dict[str, Module]) -> Iterator[str]:
    if _inside(module.name, TEXT_SIDE):
        for found in own_imports(module, known):
            if not _inside(found.target, (*TEXT_SIDE, *SHARED_WITH_TEXT_SIDE)):
                yield f"{module.at(found.line)} imports {found.target}, which belongs to the engine process"


def language_imports(module: Module, known: dict[str, Module]) -> Iterator[str]:
    is_language = _inside(module.name, [LANGUAGE])
    for found in own_imports(module, known):
        if is_language and not _inside(found.target, [LANGUAGE, *OUTSIDE_LANGUAGE]):
            yield f"{module.at(found.line)}: the language imports {found.target}"
        if not is_language and _inside(found.target, [LANGUAGE]) and _home(module.name) not in MAY_RUN_PROGRAMS:
            yield f"{module.at(found.line)}: {module.name} imports the language"


def find_cycle(known: dict[str, Module]) -> list[str]:
    """Modules that import each other in a ring, the first repeated at the end; empty if there is none."""
    edges = {name: {found.target for found in own_imports(module, known)} for name, module in known.items()}
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        path.append(name)
        cycle = next(filter(None, map(visit, sorted(edges[name]))), [])
        path.pop()
        done.add(name)
        return cycle

    return next(filter(None, map(visit, sorted(edges))), [])


def reachable(names: Sequence[str], known: dict[str, Module]) -> set[str]:
    """These modules and all they import, directly or not."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left.extend(other.target for other in own_imports(known[name], known))
    return found


def text_side_modules() -> list[str]:
    """Everything that the text process may import, and the package itself."""
    return [name for name in MODULES if _inside(name, (*TEXT_SIDE, *SHARED_WITH_TEXT_SIDE)) or name == "sglang"]


def test_every_module_has_a_level() -> None:
    homeless = [
        name
        for name, module in MODULES.items()
        if _level(name) is None and not _inside(name, [LANGUAGE]) and module.tree.body
    ]
    assert not homeless, f"give them a level in LEVELS, and in the design: {homeless}"


def test_imports_point_one_way() -> None:
    problems = _problems(lambda module: upward_imports(module, MODULES))
    assert not problems, problems


def test_no_import_cycle() -> None:
    assert not find_cycle(MODULES), " -> ".join(find_cycle(MODULES))


def test_the_text_side_knows_only_messages_of_the_engine() -> None:
    problems = _problems(lambda module: foreign_imports_of_text_side(module, MODULES))
    assert not problems, problems


def test_the_language_and_the_runtime_meet_nowhere_below_the_doors() -> None:
    problems = _problems(lambda module: language_imports(module, MODULES))
    assert not problems, problems


def test_nothing_the_text_side_reaches_imports_torch_even_in_a_function() -> None:
    problems = [
        f"{MODULES[name].at(found.line)} imports {found.target}"
        for name in sorted(reachable(text_side_modules(), MODULES))
        for found in MODULES[name].imports()
        if _inside(found.target, HEAVY)
    ]
    assert not problems, "\n".join(problems)


def test_importing_the_text_side_loads_no_torch() -> None:
    """In a process of its own, which also finds what third-party packages pull in."""
    code = f"""if True:
        import importlib, sys
        import sglang
        print("sglang", *({{"torch", "transformers", "numpy", "msgspec", "fastapi"}} & sys.modules.keys()))
        for name in {text_side_modules()!r}:
            importlib.import_module(name)
            print(name, *({set(HEAVY)!r} & sys.modules.keys()))
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    lines = [line.split() for line in run.stdout.splitlines()]
    assert [line[0] for line in lines] == ["sglang", *text_side_modules()]
    guilty = next((line for line in lines if len(line) > 1), None)
    assert guilty is None, f"importing {guilty[0]} loads {guilty[1:]}"


NATIVE_PATH = ("sglang.srt.scheduler.process", "sglang.srt.executor.native_backend", "sglang.srt.model.models.llama")
"""What the engine process imports where native kernels compute."""


@pytest.mark.skipif(not usable_levels(), reason="no native kernels")
def test_the_native_path_loads_no_torch() -> None:
    """It takes longer to import than everything else that the engine does until its first token."""
    code = f"import importlib, sys; [importlib.import_module(name) for name in {NATIVE_PATH!r}]"
    code += f"; sys.exit(' '.join({set(HEAVY)!r} & sys.modules.keys()) or None)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


FAKES = {
    "sglang.srt.kernels.ops": "def f():\n    from ..model import config\n",
    "sglang.srt.model.config": "import typing\nif typing.TYPE_CHECKING:\n    import sglang.srt.kernels.ops\n",
    "sglang.srt.engine": "import importlib\nx = importlib.import_module('sglang.srt.server.app')\n",
    "sglang.srt.server.app": "_LAZY = {'a': 'sglang.srt.scheduler.loop'}\nx = __import__(_LAZY['a'])\n",
    "sglang.srt.scheduler.loop": "import torch\nfrom sglang.lang.api import gen\n",
    "sglang.lang.api": "from sglang.srt import engine\n",
}
FAKE_MODULES = {name: Module(name, source) for name, source in FAKES.items()}


def test_every_kind_of_import_is_seen() -> None:
    """The rules above would hold of nothing if imports were overlooked."""

    def found(check: Callable[[Module, dict[str, Module]], Iterator[str]]) -> list[str]:
        return [problem.split(" ")[0] for module in FAKE_MODULES.values() for problem in check(module, FAKE_MODULES)]

    assert found(upward_imports) == ["sglang/srt/kernels/ops.py:2", "sglang/srt/engine.py:2"]
    assert found(foreign_imports_of_text_side) == ["sglang/srt/server/app.py:1"]
    assert found(language_imports) == ["sglang/srt/scheduler/loop.py:2:", "sglang/lang/api.py:1:"]
    assert find_cycle(FAKE_MODULES) == [
        "sglang.lang.api", "sglang.srt.engine", "sglang.srt.server.app", "sglang.srt.scheduler.loop", "sglang.lang.api",
    ]  # fmt: skip
    assert find_cycle({name: FAKE_MODULES[name] for name in ("sglang.srt.kernels.ops", "sglang.srt.model.config")})
    assert "sglang.srt.scheduler.loop" in reachable(["sglang.srt.engine"], FAKE_MODULES)


# --- devices --------------------------------------------------------------------------------------------------------


def _docstrings(tree: ast.AST) -> set[int]:
    """The strings that stand alone as statements, by identity: documentation of a module, a class or a name."""
    alone = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
    return {id(value) for value in alone if isinstance(value, ast.Constant)}


def _words(node: ast.AST) -> Iterator[str]:
    """The text of a string as it is, and every name that `node` itself mentions or introduces in lower case."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
            yield name.lower()
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name.lower()
        case ast.alias(name=name):
            yield name.lower()


def device_words(module: Module) -> Iterator[str]:
    """Names and strings that tell one device from another. Documentation and prose ("on a CPU") may."""
    if _inside(module.name, DEVICE_PLACES):
        return
    ignored = _docstrings(module.tree)
    for node in ast.walk(module.tree):
        if id(node) in ignored:
            continue
        for name in _words(node):
            if DEVICE_WORDS.search(name):
                yield f"{module.at(getattr(node, 'lineno', 0))} says {name!r}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.device":
            literals = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            if literals and literals[0] != NO_DEVICE and not DEVICE_WORDS.search(str(literals[0])):
                yield f"{module.at(node.lineno)} says torch.device({literals[0]!r})"


def test_only_three_places_know_devices() -> None:
    problems = _problems(device_words)
    assert not problems, f"use sglang.srt.device (HOST, Device) or an op instead:{problems}"


@pytest.mark.parametrize(
    "line",
    [
        "x = torch.zeros(3, device='cpu')",
        "if x.is_cuda: pass",
        "y = x.cpu()",
        "torch.cuda.synchronize()",
        "from torch import cuda",
        "import torch.backends.mps",
        "x = torch.empty(3, pin_memory=True)",
        "d = f'cuda:{rank}'",
        "def f(num_gpus): pass",
        "d = torch.device('npu')",
        "use_cuda = True",
        "CUDA_GRAPHS = True",
    ],
)
def test_a_device_word_is_seen(line: str) -> None:
    assert list(device_words(Module("sglang.srt.scheduler.batch", f'"""On cpu or cuda."""\n{line}\n')))
    assert not list(device_words(Module("sglang.srt.kernels.ops", line)))


def test_prose_may_speak_of_devices() -> None:
    source = '"""For cpu."""\nHOST = 1\n"""On cpu."""\nhelp = "float32 on a CPU"\nwith torch.device("meta"): pass\n'
    assert not list(device_words(Module("sglang.srt.server.arguments", source)))


# --- size -----------------------------------------------------------------------------------------------------------


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
    """Every function with its full name, also in classes and in other functions."""
    for node in ast.iter_child_nodes(tree):
        name = prefix
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = f"{prefix}.{node.name}"
            if not isinstance(node, ast.ClassDef):
                yield name, node
        yield from functions(node, name)


def num_parameters(function: Function) -> int:
    """Without self and cls."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return sum(argument is not None and argument.arg not in ("self", "cls") for argument in named)


def long_code(module: Module) -> Iterator[str]:
    num_lines = len(module.source.splitlines())
    if num_lines > MAX_FILE_LINES:
        yield f"{module.at(num_lines)}: {num_lines} lines; a file has at most {MAX_FILE_LINES}"
    for name, function in functions(module.tree, module.name):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        if length > MAX_FUNCTION_LINES:
            yield f"{module.at(function.lineno)} {name}: {length} lines; a function has at most {MAX_FUNCTION_LINES}"


def many_parameters(module: Module) -> Iterator[str]:
    for name, function in functions(module.tree, module.name):
        count = num_parameters(function)
        if count > MAX_PARAMETERS and name not in MANY_PARAMETERS:
            yield f"{module.at(function.lineno)} {name}: {count} parameters; a function has at most {MAX_PARAMETERS}"


def test_files_and_functions_are_short() -> None:
    problems = _problems(long_code)
    assert not problems, problems


def test_functions_take_few_parameters() -> None:
    problems = _problems(many_parameters)
    assert not problems, problems


def test_exceptions_for_many_parameters_are_needed() -> None:
    counts = {
        name: num_parameters(function)
        for module in MODULES.values()
        for name, function in functions(module.tree, module.name)
    }
    needless = [name for name in MANY_PARAMETERS if counts.get(name, 0) <= MAX_PARAMETERS]
    assert not needless, f"take them out of MANY_PARAMETERS: {needless}"


def test_long_code_is_seen() -> None:
    body = "        x = 1\n" * MAX_FUNCTION_LINES
    long = Module("sglang.srt.vocab", f"class A:\n    def f(self):\n{body}" + "\n" * MAX_FILE_LINES)
    assert len(list(long_code(long))) == 2
    names = ", ".join("abcdefghi")
    assert not list(many_parameters(Module("sglang.srt.vocab", f"class A:\n    def f(self, {names}): pass\n")))
    assert list(many_parameters(Module("sglang.srt.vocab", f"def f({names}, *rest): pass\n")))


# --- safety ---------------------------------------------------------------------------------------------------------


def unsafe_code(module: Module) -> Iterator[str]:
    for found in module.imports():
        if _inside(found.target, UNSAFE_MODULES):
            yield f"{module.at(found.line)} imports {found.target}, whose data can run code"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in UNSAFE_CALLS:
            yield f"{module.at(node.lineno)} calls {node.func.id}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "torch.save"):
            yield f"{module.at(node.lineno)} calls {ast.unparse(node.func)}, which is pickle"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            yield f"{module.at(node.value.lineno)} says allow_pickle"


def _is_broad(kind: ast.expr | None) -> bool:
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(one is None or _last_name(one) in BROAD for one in kinds)


def _does_nothing(statement: ast.stmt) -> bool:
    is_constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return is_constant or isinstance(statement, (ast.Pass, ast.Continue, ast.Break))


def swallowed_errors(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                yield f"{module.at(node.lineno)}: a bare except also catches KeyboardInterrupt; name the errors"
            elif _is_broad(node.type) and all(map(_does_nothing, node.body)):
                yield f"{module.at(node.lineno)}: any error is swallowed here"
        elif isinstance(node, ast.Call) and _last_name(node.func) == "suppress" and any(map(_is_broad, node.args)):
            yield f"{module.at(node.lineno)}: any error is swallowed here"


def test_no_code_from_data() -> None:
    problems = _problems(unsafe_code)
    assert not problems, problems


def test_no_error_is_swallowed() -> None:
    problems = _problems(swallowed_errors)
    assert not problems, problems


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "eval('1')",
        "exec(code)",
        "torch.load(path)",
        "np.load(path, allow_pickle=True)",
        "try: f()\nexcept: raise",
        "try: f()\nexcept Exception: pass",
        "try: f()\nexcept (OSError, BaseException): ...",
        "for x in y:\n    try: f()\n    except Exception: continue",
        "with contextlib.suppress(Exception): f()",
    ],
)
def test_unsafe_code_is_seen(line: str) -> None:
    module = Module("sglang.srt.vocab", line)
    assert [*unsafe_code(module), *swallowed_errors(module)]


@pytest.mark.parametrize(
    "line",
    [
        "model.eval()",
        "try: f()\nexcept OSError: pass",
        "try: f()\nexcept Exception as e: raise A from e",
        "with suppress(OSError): f()",
    ],
)
def test_safe_code_is_let_pass(line: str) -> None:
    module = Module("sglang.srt.vocab", line)
    assert not [*unsafe_code(module), *swallowed_errors(module)]


# --- documentation --------------------------------------------------------------------------------------------------


def test_every_module_says_what_it_is() -> None:
    silent = [
        module.at(1)
        for name, module in MODULES.items()
        if module.tree.body and not ast.get_docstring(module.tree) and name not in WITHOUT_DOCSTRING
    ]
    assert not silent, f"without a docstring: {silent}"
