"""Imports between packages go in one direction, and importing ppzoo does not import PaddlePaddle."""

import ast
import subprocess
import sys
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
