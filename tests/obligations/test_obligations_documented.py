"""What an operator can set or say stands in the documentation, and every cap has a test that runs into it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from strongroom.archive.model import Action
from strongroom.cli.commands import commands as all_commands
from strongroom.config import Config, LimitsSection

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
NOT_COMMANDS = {"secret"}
"""Words that follow the name in another sense: the magic of a sealed secret."""


def page(name: str) -> str:
    path = DOCS / name
    assert path.exists(), f"docs/{name} is missing"
    return path.read_text(encoding="utf-8")


def config_keys() -> Iterator[str]:
    """Every key as ``section.key``."""
    for section in msgspec.structs.fields(Config):
        struct: Any = section.type
        inner = getattr(struct, "__args__", (struct,))[0]
        for field in msgspec.structs.fields(inner):
            yield f"{section.name}.{field.name}"


def commands(group: Any = None, before: tuple[str, ...] = ("strongroom",)) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by the words that call it, and the program with its own options."""
    if group is None:
        group = typer.main.get_command(all_commands())
        yield before[0], group
    for name, command in group.commands.items():
        is_group = hasattr(command, "commands")
        if is_group:
            yield from commands(command, (*before, name))
        if not is_group or command.invoke_without_command:
            yield " ".join((*before, name)), command


def options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        yield from (word for word in (*parameter.opts, *parameter.secondary_opts) if word.startswith("--"))


def section_of(text: str, words: str) -> str:
    """The part of docs/cli.md about one command: from its heading to the next."""
    found = re.search(rf"^## `{re.escape(words)}(?: [A-Z_\[\]. ]+)?`\n(.*?)(?=^## |\Z)", text, re.S | re.M)
    return found[1] if found else ""


def test_pages_made_from_the_code_say_what_it_says_now() -> None:
    """Configuration, command line and conformance statement: run tools/make_docs.py when this fails."""
    command = [sys.executable, str(ROOT / "tools" / "make_docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("key", sorted(config_keys()))
def test_every_configuration_key_is_documented(key: str) -> None:
    assert f"`{key}`" in page("configuration.md")


def test_nothing_else_is_documented_as_a_key() -> None:
    found = set(re.findall(r"^\| `([a-z_]+\.[a-z_0-9]+)`", page("configuration.md"), re.M))
    assert found == set(config_keys())


@pytest.mark.parametrize(("words", "command"), sorted(commands(), key=lambda pair: pair[0]))
def test_every_command_and_option_is_documented(words: str, command: Any) -> None:
    section = section_of(page("cli.md"), words)
    assert section, f"docs/cli.md says nothing of {words}"
    assert [option for option in options(command) if option != "--help" and f"`{option}`" not in section] == []


def test_every_command_says_what_it_does() -> None:
    silent = [words for words, command in commands() if not (command.help or "").strip()]
    silent += [
        f"{words} {parameter.name}"
        for words, command in commands()
        for parameter in command.params
        if not (getattr(parameter, "help", "") or "").strip()
    ]
    assert silent == []


def test_no_page_names_a_command_that_is_not_there() -> None:
    known = {words for words, _ in commands()}
    groups = {words.rpartition(" ")[0] for words in known}
    for path in (ROOT / "README.md", *DOCS.rglob("*.md")):
        for first, second in re.findall(r"(?:^|`)strongroom ([a-z-]+)(?: ([a-z]+))?", path.read_text("utf-8"), re.M):
            names = {f"strongroom {first}", f"strongroom {first} {second}".strip()}
            # A group alone, a command, or a command with a first argument.
            assert names & (known | groups) or first in NOT_COMMANDS, f"{path.name} names {sorted(names)}"


def text_of_the_tests() -> str:
    """The text of every test but those of this folder."""
    own = Path(__file__).parent
    paths = [path for path in (ROOT / "tests").rglob("*.py") if path.parent != own]
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(paths))


@pytest.mark.parametrize("name", LimitsSection.__struct_fields__)
def test_every_limit_is_run_into_by_a_test(name: str) -> None:
    is_named = re.search(rf"\b{name}\b", text_of_the_tests()) is not None
    assert is_named, f"no test names {name}"


@pytest.mark.parametrize("action", Action)
def test_every_kind_of_trail_record_is_looked_for_by_a_test(action: Action) -> None:
    text = text_of_the_tests()
    is_named = f"Action.{action.name}" in text or f'"{action.value}"' in text
    assert is_named, f"no test names {action}"
