"""What every module and every test keeps to, so that nobody has to look for it in review."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import strongroom

SOURCE = Path(strongroom.__file__).parent
ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"

MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 50
MAX_PARAMETERS = 6
TEXT_SUFFIXES = (".py", ".md", ".toml", ".html")
FORBIDDEN_NAMES = ("util", "helper", "manager", "context", "common", "misc")
PURE_ROOMS = ("dicom", "ul", "dimse", "archive")
WORDS_ONLY = {
    "archive/administration.py",
    "archive/model.py",
    "archive/ports.py",
    "dimse/messages.py",
    "ul/effects.py",
    "ul/events.py",
}
"""Dataclasses and protocols: nothing in them runs."""
TESTED_THROUGH = {
    "archive/access.py": "unit/net/test_net_acceptor.py",
    "archive/resealing.py": "unit/archive/test_archive_keptout.py",
    "dicom/inflate.py": "unit/dicom/test_dicom_elements.py",
    "dicom/stream.py": "unit/dicom/test_dicom_canonical.py",
    "ul/fragments.py": "property/test_property_ul.py",
    "ul/inbox.py": "property/test_property_ul.py",
}
"""Parts of a module that has the tests, behind its interface."""
CHANGEABLE_CONSTANTS = {"_ONLY_PADDING"}
"""Compared with lists, so it has to be one."""


def source_files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def own_text_files() -> Iterator[Path]:
    """Everything that the project itself has written: code, tests, tools, documentation."""
    for folder in ("src", "tests", "tools", "docs"):
        yield from (path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in TEXT_SUFFIXES)
    # What is measured lies below it, and is no text of the project.
    yield from (path for path in sorted((ROOT / "bench").glob("*")) if path.suffix in TEXT_SUFFIXES)
    yield from (ROOT / name for name in ("README.md", "pyproject.toml"))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", source_files(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_modules_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    assert lines < MAX_MODULE_LINES, f"{lines} lines"
    if "versions" in path.parts:  # a migration is a table of tables
        return
    for function in functions(ast.parse(text)):
        lines = (function.end_lineno or 0) - function.lineno + 1
        assert lines <= MAX_FUNCTION_LINES, f"{function.name} has {lines} lines"
        arguments = function.args
        count = len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs)
        # What an operator may say is as long as it is; a command is called by its options, never by position.
        if path.parent.name != "cli":
            is_method = bool(arguments.args) and arguments.args[0].arg in ("self", "cls")
            assert count - is_method <= MAX_PARAMETERS, f"{function.name} has {count} parameters"


@pytest.mark.parametrize("path", source_files(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_modules_have_a_docstring_and_a_name_that_says_something(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "no docstring"
    assert not any(word in path.stem for word in FORBIDDEN_NAMES)


@pytest.mark.parametrize("path", source_files(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_public_names_are_documented(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    missing = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                missing.append(node.name)
            if isinstance(node, ast.ClassDef):
                missing += [
                    f"{node.name}.{inner.name}"
                    for inner in node.body
                    if isinstance(inner, ast.FunctionDef)
                    and not inner.name.startswith("_")
                    and not ast.get_docstring(inner)
                    and not is_stub(inner)
                ]
    assert missing == []


def is_stub(function: ast.FunctionDef) -> bool:
    """Whether a method only declares itself: ``...`` in a protocol."""
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in function.body)


def test_no_state_is_kept_in_modules() -> None:
    """Nothing at the top of a module is a container that can be changed, and nobody says ``global``."""
    breaches = []
    for path in source_files():
        if "schema" in path.parts:  # Alembic's and SQLAlchemy's own form
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        breaches += [f"{path.name}: global" for node in ast.walk(tree) if isinstance(node, ast.Global)]
        for node in tree.body:
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            if isinstance(value, ast.List | ast.Set) and not target(node).startswith("__"):
                breaches += [f"{path.name}:{node.lineno}"] if target(node) not in CHANGEABLE_CONSTANTS else []
    assert breaches == []


def target(node: ast.stmt) -> str:
    """The name that a statement at the top of a module gives to a value."""
    assert isinstance(node, ast.Assign | ast.AnnAssign)
    return ast.unparse(node.target if isinstance(node, ast.AnnAssign) else node.targets[0])


def test_nothing_is_left_to_be_done_later() -> None:
    marks = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in own_text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if marks.search(line)
    ]
    assert found == []


SLEEPS = ("time.sleep", "asyncio.sleep", "anyio.sleep", "sleep")


def test_no_test_waits_by_sleeping() -> None:
    """A sleep is either too short on a slow machine or too long on every other."""
    found = []
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node) in SLEEPS:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def test_every_pure_module_has_its_own_tests() -> None:
    missing = []
    for room in PURE_ROOMS:
        for path in sorted((SOURCE / room).glob("*.py")):
            name = path.relative_to(SOURCE).as_posix()
            known = path.stem == "__init__" or name in WORDS_ONLY or name in TESTED_THROUGH
            if not known and not imported_by_a_test(room, path.stem):
                missing.append(name)
    assert missing == []
    assert [test for test in TESTED_THROUGH.values() if not (TESTS / test).exists()] == []


def imported_by_a_test(room: str, module: str) -> bool:
    """Whether some test is named after the module, or imports from it."""
    wanted = re.compile(rf"from strongroom\.{room}\.{module} import|from strongroom\.{room} import .*\b{module}\b")
    return any(
        path.stem == f"test_{room}_{module}" or wanted.search(path.read_text(encoding="utf-8"))
        for path in TESTS.rglob("*.py")
    )


def test_exceptions_to_the_linters_say_why() -> None:
    """A ``noqa`` or ``type: ignore`` names its rule, and something after it says the reason."""
    found = []
    for path in source_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            mark = re.search(r"#\s*(noqa|type:\s*ignore)(.*)", line)
            if mark and not re.match(r"(: [A-Z]+[0-9]+|\[[a-z-]+\])\s+\S", mark[2]):
                found.append(f"{path.relative_to(SOURCE)}:{number}")
    assert found == []


def test_no_file_of_the_project_names_the_place_it_was_written_in() -> None:
    places = re.compile("/" + "work/|/" + "home/[a-z]|" + "DESIGN" + r"\.md")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in own_text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if places.search(line)
    ]
    assert found == []
