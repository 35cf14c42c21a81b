"""Write the pages of docs that are made from the code, so that they say what is true now.

With ``--check`` nothing is written: exit 1 if a page would change.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import typer.main
from typer.core import TyperArgument

from conformance import conformance
from probe_checks import probe_checks
from strongroom.cli.commands import commands
from strongroom.config import Config

DOCS = Path(__file__).resolve().parent.parent / "docs"

CONFIGURATION_HEAD = """\
# Configuration

`config.toml` in the home directory, read once at start. Unknown keys are errors. What is not there has the default
below, and every default is the locked one: whatever weakens the archive is a table that begins with `unsafe_`, has a
reason and an expiry date, and is recorded in the trail at every start.

The environment: `STRONGROOM_HOME` (the home directory where `--home` is not given), `STRONGROOM_PASSPHRASE` (with
`keys.source = "passphrase"`, and for keys that sign scopes of `strongroom probe`), `STRONGROOM_PASSCODE` (for
`strongroom user add`, and of the account that `delete`, `unsafe approve`, `alerts --acknowledge`, `break-glass review`
and `quarantine release` and `destroy` name with `--by` or `--user`), `STRONGROOM_BACKUP_PASSPHRASE` (for
`strongroom backup` with `--with-master-key`); `NOTIFY_SOCKET` is the service manager's.
"""

CLI_HEAD = """\
# Command line

Exit status: 0 = good, 1 = the answer is bad news, 2 = could not run. Every command that touches an archive takes
`--home DIR`, or `STRONGROOM_HOME`.
"""


def configuration() -> str:
    """The page of configuration keys."""
    parts = [CONFIGURATION_HEAD]
    for field in msgspec.structs.fields(Config):
        parts.extend(_tables(field.name, field.type))
    return "\n".join(parts)


def _tables(name: str, kind: Any) -> Iterator[str]:
    """The tables of a section, and of the sections in it."""
    repeated = get_args(kind)
    struct = repeated[0] if repeated else kind
    yield _table(f"[[{name}]]" if repeated else f"[{name}]", name, struct)
    for field, hint in get_type_hints(struct).items():
        inner = get_args(hint)
        if inner and isinstance(inner[0], type) and issubclass(inner[0], msgspec.Struct):
            yield from _tables(f"{name}.{field}", hint)


def _table(title: str, section: str, struct: Any) -> str:
    rows = [f"## `{title}`", "", str(struct.__doc__), "", "| key | default | meaning |", "|---|---|---|"]
    for field in msgspec.structs.fields(struct):
        default = "required" if field.required else f"`{_toml(field.default)}`"
        description = msgspec.json.schema(struct)["$defs"][struct.__name__]["properties"][field.name]["description"]
        rows.append(f"| `{section}.{field.name}` | {default} | {description} |")
    return "\n".join(rows) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _names(option: Any) -> str:
    """An option and its opposite, as code."""
    return ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))


def _meaning(option: Any) -> str:
    """The help of an option, and its default where that is something else than nothing, and not said already."""
    said, default = getattr(option, "help", "") or "", option.default
    if not isinstance(default, str | int | float) or isinstance(default, bool) or not str(default):
        return said
    word = str(getattr(default, "value", default))
    return said if f"Default: `{word}`" in said or f"default {word}" in said else f"{said} Default: `{word}`.".strip()


def cli() -> str:
    """The page of commands."""
    parts = [CLI_HEAD]
    program = typer.main.get_command(commands())
    for words, command in (("strongroom", program), *_commands(program, "strongroom")):
        arguments = [p for p in command.params if isinstance(p, TyperArgument)]
        options = [p for p in command.params if not isinstance(p, TyperArgument) and p.name != "help"]
        usage = " ".join([words, *(f"{p.name}".upper() for p in arguments)])
        parts.append(f"## `{usage}`\n\n{(command.help or '').strip()}\n")
        if options:
            rows = ["| option | meaning |", "|---|---|"]
            rows += [f"| {_names(p)} | {_meaning(p)} |" for p in options]
            parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def _commands(command: Any, words: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if not children or command.invoke_without_command:
        yield words, command
    if not children:
        return
    for name, child in children.items():
        yield from _commands(child, f"{words} {name}")


def main() -> int:
    """Write the pages, or check them."""
    pages = {
        DOCS / "configuration.md": configuration(),
        DOCS / "cli.md": cli(),
        DOCS / "conformance.md": conformance(),
        DOCS / "probe-checks.md": probe_checks(),
    }
    if "--check" in sys.argv:
        old = [path.name for path, text in pages.items() if not path.exists() or path.read_text() != text]
        for name in old:
            print(f"docs/{name} is not what the code says: run tools/make_docs.py")
        return int(bool(old))
    for path, text in pages.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
