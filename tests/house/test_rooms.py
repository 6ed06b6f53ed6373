"""What import-linter cannot see: who opens kernel files, and how long a room may be."""

import ast
from pathlib import Path

AGENT = Path(__file__).parents[2] / "agent"
MODULES = sorted(AGENT.rglob("*.py"))


def strings(tree: ast.Module) -> list[str]:
    """Every string constant that is no docstring."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    ]


def test_only_inspection_names_kernel_files() -> None:
    outside = [path for path in MODULES if "inspection" not in path.relative_to(AGENT).parts]
    named = {
        str(path.relative_to(AGENT)): text
        for path in outside
        for text in strings(ast.parse(path.read_text()))
        if text.startswith(("/proc", "/sys/", "proc/", "sys/"))
    }
    assert named == {}


def test_no_module_is_past_500_lines() -> None:
    long = {str(path.relative_to(AGENT)): n for path in MODULES if (n := len(path.read_text().splitlines())) > 500}
    assert long == {}
