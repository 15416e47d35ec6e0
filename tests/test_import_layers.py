"""Imports between packages go in one direction and without cycles, and `import ppzoo` does not import PaddlePaddle."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "ppzoo"
BASE = {"arithmetic", "backports", "compiled_library", "errors", "events", "files", "finite", "host", "installation"}
BASE |= {"analysis", "launcher", "locks", "paddle_internals", "ppzoo", "progress", "registry", "tar_headers"}
BASE |= {"synonyms", "terminal", "trusted_paths", "yaml_io"}
SHARED = {"layers", "weights"}
PACKAGES = {"config", "models", "data", "losses", "metrics", "optim", "engine", "deploy", "report", "explain"}
PACKAGES |= {"batch_inference"}
ALLOWED_IMPORTS = {
    **dict.fromkeys(BASE | SHARED, BASE),
    **dict.fromkeys(PACKAGES, BASE | SHARED),
    "native": BASE,
    **dict.fromkeys(["engine", "optim"], BASE | SHARED | {"native"}),
    "layers": BASE | {"native"},
    "config": BASE,
    "safe_pickle": BASE,
    "weights": BASE | {"safe_pickle"},
    "data": BASE | SHARED | {"safe_pickle"},
    "builders": BASE | SHARED | PACKAGES | {"native"},
    "doctor": BASE,
    "convert": BASE | SHARED | {"builders", "models"},
    "migration": BASE | {"builders", "config", "data", "models"},
    "image_inputs": BASE,
    "predictor": {"builders", "data", "deploy", "image_inputs", *BASE},
    "client": {"image_inputs", *BASE},
    "__main__": {"cli"},
    "serve": {"data", "deploy", "predictor", *BASE},
    "cli": {
        "batch_inference",
        "builders",
        "config",
        "convert",
        "data",
        "doctor",
        "engine",
        "migration",
        "models",
        "native",
        "report",
        "serve",
    },
}
ALLOWED_IMPORTS["cli"] |= BASE | SHARED


def package_of(module: str) -> str:
    """Return 'data' for 'ppzoo.data.loader', and 'ppzoo' for 'ppzoo'."""
    return module.split(".")[1] if "." in module else module


def imports(path: Path) -> set[str]:
    """Return the full names of the modules of ppzoo that a file imports, at any place."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ppzoo":
            names = [f"ppzoo.{alias.name}" for alias in node.names] if node.module == "ppzoo" else [node.module]
            found.update(names)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.split(".")[0] == "ppzoo")
    return found


def test_imports_go_in_one_direction():
    violations = []
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(("ppzoo", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        package = package_of(module)
        allowed = ALLOWED_IMPORTS[package] | {package}
        violations += [f"{module} imports {name}" for name in imports(path) if package_of(name) not in allowed]
    assert not violations


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run when a module is imported: not those in functions or under TYPE_CHECKING."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        yield node
        is_type_checking = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for name in ("orelse", "finalbody") if is_type_checking else ("body", "orelse", "finalbody"):
            yield from statements(getattr(node, name, []))
        for handler in getattr(node, "handlers", []):
            yield from statements(handler.body)


def run_time_imports(module: str, path: Path, modules: dict[str, Path]) -> set[str]:
    """Return the modules of ppzoo whose import `module` needs, without the packages that contain it."""
    found = set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.ImportFrom) and node.module:
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in members if name in modules}
            if members - modules.keys():
                found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    parents = {name.rsplit(".", count)[0] for name in found for count in range(1, name.count(".") + 1)}
    found |= {parent for parent in parents if not f"{module}.".startswith(f"{parent}.")}
    return found & modules.keys() - {module}


def find_cycle(graph: dict[str, set[str]]) -> list[str] | None:
    """Return the modules of an import cycle, in the order of their imports; None if there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1][::-1]
    return None


def find_modules() -> dict[str, Path]:
    """Return the path of each module and package of ppzoo by its full name."""
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def bound_names(node: ast.stmt, modules: dict[str, Path]) -> list[str]:
    """Return the names that a statement binds to functions, classes or values, and not to modules."""
    if isinstance(node, ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names if f"{node.module}.{alias.name}" not in modules]
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
    return [target.id for target in targets if isinstance(target, ast.Name)]


def find_shadowed_modules(modules: dict[str, Path]) -> set[str]:
    """Return the modules that have the name of a function, class or value of the package that contains them."""
    packages = {name: path for name, path in modules.items() if path.name == "__init__.py"}
    bound = {
        f"{package}.{name}"
        for package, path in packages.items()
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        for name in bound_names(node, modules)
    }
    return bound & modules.keys()


def test_modules_have_no_import_cycle():
    modules = find_modules()
    graph = {module: run_time_imports(module, path, modules) for module, path in modules.items()}
    assert find_cycle(graph) is None


def test_import_cycles_are_found(tmp_path):
    sources = {
        "p": "",
        "p.a": "from p import b",
        "p.b": "if True:\n    import p.c",
        "p.c": "from p.a import name",
        "p.d": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p import e\ndef f():\n    import p.e",
        "p.e": "import p.d",
    }
    modules = {name: tmp_path / f"{name}.py" for name in sources}
    for name, text in sources.items():
        modules[name].write_text(text)
    graph = {name: run_time_imports(name, path, modules) for name, path in modules.items()}
    assert graph == {"p": set(), "p.a": {"p.b"}, "p.b": {"p.c"}, "p.c": {"p.a"}, "p.d": set(), "p.e": {"p.d"}}
    assert set(find_cycle(graph)) == {"p.a", "p.b", "p.c"}
    assert find_cycle({**graph, "p.c": set()}) is None


def test_no_module_has_the_name_of_a_function_of_its_package():
    assert not find_shadowed_modules(find_modules())


def test_modules_with_the_name_of_a_function_are_found(tmp_path):
    sources = {
        "p": "from p.a import a, x as b\nfrom p import c\nd: int = 0\ne = 0\ndef f(): pass\nclass g: pass",
        **{f"p.{name}": "" for name in "abcdefgx"},
    }
    modules = {name: tmp_path / (f"{name}.py" if "." in name else "__init__.py") for name in sources}
    for name, text in sources.items():
        modules[name].write_text(text)
    assert find_shadowed_modules(modules) == {f"p.{name}" for name in "abdefg"}


def test_importing_ppzoo_imports_neither_paddle_nor_opencv():
    command = "import sys, ppzoo, ppzoo.cli; print('paddle' in sys.modules, 'cv2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_missing_paddlepaddle_is_a_one_line_error():
    hide = "import sys, importlib.util as util; find = util.find_spec;"
    hide += "util.find_spec = lambda name, *rest: None if name == 'paddle' else find(name, *rest);"
    command = f"{hide} from ppzoo.cli import main; sys.exit(main(['models']))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: PaddlePaddle is not installed: run `pip install 'ppzoo[cpu]'`")
    assert len(done.stderr.splitlines()) == 1
