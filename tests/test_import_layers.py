"""Imports between the packages run one way, and importing ppzoo does not import PaddlePaddle."""

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "ppzoo"
BASE = {"backports", "errors", "finite", "installation", "registry", "events", "arithmetic", "files", "host"}
BASE |= {"launcher", "ppzoo", "yaml_io"}
SHARED = {"layers", "weights"}
PACKAGES = {"config", "models", "data", "losses", "metrics", "optim", "engine", "deploy", "report"}
MAY_IMPORT = {
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
    "image_inputs": BASE,
    "predictor": {"builders", "deploy", "image_inputs", *BASE},
    "cli": {"builders", "config", "convert", "data", "doctor", "engine", "models", "native", "report", *BASE, *SHARED},
}


def package_of(module: str) -> str:
    """'ppzoo.data.loader' -> 'data'; 'ppzoo' -> 'ppzoo'."""
    return module.split(".")[1] if "." in module else module


def imports(path: Path) -> set[str]:
    """Full names of ppzoo's modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ppzoo":
            names = [f"ppzoo.{alias.name}" for alias in node.names] if node.module == "ppzoo" else [node.module]
            found.update(names)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.split(".")[0] == "ppzoo")
    return found


def test_imports_run_one_way():
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(("ppzoo", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        here = package_of(module)
        allowed = MAY_IMPORT[here] | {here}
        wrong += [f"{module} imports {name}" for name in imports(path) if package_of(name) not in allowed]
    assert not wrong


def test_importing_ppzoo_is_light():
    command = "import sys, ppzoo, ppzoo.cli; print('paddle' in sys.modules, 'cv2' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]


def test_without_paddlepaddle_one_line_says_how_to_get_it():
    hide = "import sys, importlib.util as util; find = util.find_spec;"
    hide += "util.find_spec = lambda name, *rest: None if name == 'paddle' else find(name, *rest);"
    command = f"{hide} from ppzoo.cli import main; sys.exit(main(['models']))"
    answer = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: PaddlePaddle is not installed: run `pip install 'ppzoo[cpu]'`")
    assert len(answer.stderr.splitlines()) == 1
