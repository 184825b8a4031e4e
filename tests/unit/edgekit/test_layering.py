"""Who may import whom: the invariants of ARCHITECTURE.md."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
STAGES = ("wavllm_teacher", "distill", "quantize", "codegen", "firmware_sim")
PACKAGES = ("edgekit", *STAGES)
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
HEAVY = ("torch", "transformers", "onnxruntime", "unicorn")


def imports(tree: ast.AST) -> set[str]:
    """Return the top-level packages that a tree imports, edgekit's own modules in full."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(node.module or "")
    return found


def packages(tree: ast.AST) -> set[str]:
    return {name.split(".")[0] for name in imports(tree)}


def module_level(tree: ast.Module) -> ast.Module:
    """Return the tree without what runs later or never: function bodies and TYPE_CHECKING blocks."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)

    return Strip().visit(tree)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_all_rooms_are_there():
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(PACKAGES)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_stage_imports_another(path):
    room = path.relative_to(ROOT).parts[0]
    others = packages(parse(path)) & set(STAGES) - {room}
    if room in STAGES:
        assert not others, f"{room} is a stage: it must not import {others}"
    elif others:
        allowed = name(path) == "edgekit/pipeline.py" or name(path).startswith("edgekit/cli/")
        assert allowed, f"only the command line and the pipeline may import stages, not {name(path)}"
        late = packages(module_level(parse(path))) & set(STAGES)
        assert not late, f"{name(path)} must import {late} inside a function"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_only_the_command_line_imports_click(path):
    if "click" in packages(parse(path)):
        assert name(path).startswith("edgekit/cli/")


@pytest.mark.parametrize("path", FILES, ids=name)
def test_the_core_knows_neither_command_line_nor_pipeline(path):
    if name(path).startswith("edgekit/cli/"):
        return
    found = {i for i in imports(parse(path)) if i.startswith(("edgekit.cli", "edgekit.pipeline"))}
    assert not found, f"{name(path)} must not import {found}"


def loaded_by(code: str) -> list[str]:
    check = f"import sys; {code}; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize(
    "code",
    [
        "import edgekit",
        "from edgekit.cli import main; main(['--help'])",
        "from edgekit.cli import main; main(['targets'])",
        "import edgekit.pipeline",
        "import wavllm_teacher.labelling, distill.training, quantize.stage",
        "import codegen.stage, firmware_sim.stage",
    ],
)
def test_heavy_packages_stay_out(code):
    assert loaded_by(code) == []
