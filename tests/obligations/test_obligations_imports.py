"""The rooms and the rules between them: who may import whom, and which outside module may be touched where."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import strongroom

SOURCE = Path(strongroom.__file__).parent

WORDS = {"errors", "types"}
"""Every room may use these."""

ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "types": {"errors"},
    "config": set(),
    "dicom": set(),
    "ul": set(),
    "dimse": {"ul"},
    "archive": {"dicom"},
    "trail": {"archive", "dicom"},
    "store": {"archive", "dicom"},
    "net": {"archive", "dicom", "dimse", "ul"},
    "people": {"archive", "store"},
    "pixels": {"dicom"},
    "screen": {"dicom"},
    "signatures": {"dicom"},
    "oidc": {"archive", "net", "web"},
    "viewer": set(),
    "web": {"archive", "config", "dicom", "pixels", "viewer"},
    "probe": {"dicom", "dimse", "net", "ul"},
    "checkpoints": {"store", "trail"},
    "digesting": {"archive", "dicom", "store"},
    "door": {"archive", "config", "dicom", "pixels", "screen"},
    "vouching": {"archive", "dicom", "signatures", "store"},
    "app": {
        "archive",
        "checkpoints",
        "config",
        "dicom",
        "digesting",
        "door",
        "net",
        "people",
        "pixels",
        "store",
        "trail",
        "vouching",
    },
    "admin": {
        "app",
        "archive",
        "checkpoints",
        "config",
        "dicom",
        "net",
        "people",
        "screen",
        "signatures",
        "stamping",
        "store",
        "trail",
        "viewer",
        "vouching",
    },
    "metrics": {"archive"},
    "serving": {
        "admin",
        "app",
        "archive",
        "checkpoints",
        "config",
        "dicom",
        "digesting",
        "dimse",
        "door",
        "metrics",
        "net",
        "oidc",
        "people",
        "pixels",
        "stamping",
        "store",
        "ul",
        "viewer",
        "web",
    },
    "stamping": {"app", "archive", "checkpoints", "net", "trail"},
    "cli": {
        "admin",
        "app",
        "archive",
        "config",
        "people",
        "probe",
        "screen",
        "serving",
        "signatures",
        "store",
        "trail",
    },
    "__main__": {"cli"},
    "strongroom": set(),
}
"""Room to the rooms it may import. None imports one that imports it, directly or not."""

NARROWER: dict[str, set[str]] = {
    "trail": {"archive.model"},
    "net.tls": set(),
    "net.certificates": set(),
    "net.scu": {"dimse", "ul", "net.scu_link"},
    "net.scu_link": {"dimse", "ul", "net.tls"},
    "probe": {"__version__", "dicom", "dimse", "ul", "net.scu", "net.scu_link", "net.tls", "net.certificates"},
    "metrics": {"archive.model"},
    "oidc": {"archive", "net.outbound", "web.jwks", "web.jws"},
    "serving.announcing": {"archive", "serving.logs"},
    "serving.board": {"metrics"},
    "serving.logs": set(),
    "serving.reporting": {"archive", "config", "metrics", "serving.board"},
    "serving.supervisor": {"config"},
    "serving.checkservice": {"app", "archive", "serving.checkworker", "serving.pulse", "store"},
    "serving.child": set(),
    "serving.checkworker": {"app", "config", "serving.child", "serving.logs", "serving.pulse", "store"},
    "serving.digestservice": {"config", "serving.digestworker", "serving.pulse"},
    "serving.digestworker": {
        "app",
        "config",
        "digesting",
        "serving.announcing",
        "serving.child",
        "serving.logs",
        "serving.pulse",
    },
    "serving.dicomparts": {"app", "archive", "config", "dicom", "dimse", "door", "net", "people", "store", "ul"},
    "serving.dicomservice": {
        "admin.exceptions",
        "app",
        "archive",
        "config",
        "metrics",
        "net",
        "serving.announcing",
        "serving.dicomparts",
        "serving.dicomworkers",
        "serving.reporting",
        "stamping",
        "store",
    },
    "serving.dicomworker": {
        "app",
        "config",
        "door",
        "metrics",
        "net.associations",
        "net.farplace",
        "serving.announcing",
        "serving.board",
        "serving.child",
        "serving.dicomparts",
        "serving.farstore",
        "serving.logs",
        "serving.pulse",
        "serving.reporting",
        "serving.weborders",
        "store.remote",
    },
    "serving.dicomworkers": {
        "app",
        "net.associations",
        "net.farplace",
        "net.places",
        "serving.dicomworker",
        "serving.errands",
        "serving.keeping",
        "serving.reporting",
        "serving.weborders",
        "store.remote",
    },
    "serving.errands": set(),
    "serving.farstore": {"archive", "dicom", "serving.errands"},
    "serving.keeping": {"app", "archive", "serving.pulse", "serving.reporting"},
    "serving.pulse": set(),
    "serving.providers": {"app", "archive", "config", "net", "oidc", "people"},
    "serving.webcallers": {
        "admin.access",
        "app",
        "archive",
        "config",
        "net",
        "people",
        "serving.providers",
        "store",
        "web",
    },
    "serving.webservice": {"app", "archive", "serving.keeping", "serving.reporting", "serving.weborders"},
    "net.acceptor": {"archive.access", "archive.people", "archive.peers", "archive.query", "net.services", "ul"},
}
"""What may import less than its room: what looks at other archives from the outside knows nothing of ours."""

PURE_ROOMS = ("dicom", "ul", "dimse", "signatures")
PURE_MODULES = (
    "probe.tls.hello",
    "probe.tls.suites",
    "probe.judging.vulnerable",
    "store.seal",
    "trail.record",
    "trail.tree",
    "viewer.rewriting",
)
IMPURE_IN_ARCHIVE = {"archive.ingest"}
"""It orders the ports' work, and holds one lock."""

NEVER_IN_PURE = {
    "asyncio", "concurrent", "glob", "http", "io", "logging", "multiprocessing", "os", "pathlib", "queue", "random",
    "sched", "secrets", "select", "selectors", "shutil", "signal", "socket", "socketserver", "sqlalchemy", "sqlite3",
    "sqlcipher3", "ssl", "subprocess", "tempfile", "threading", "time", "urllib", "uuid",
}  # fmt: skip

TOUCHED_BY: dict[str, set[str]] = {
    "PIL": {"pixels.drawing"},
    "alembic": {"store.schema"},
    "argon2": {"store.accounts", "store.escrow", "store.keys"},
    "cryptography": {
        "net.certificates",
        "people.sealing",
        "probe.tls.certificates",
        "probe.permits.signing",
        "signatures.certificates",
        "signatures.revocation",
        "signatures.timestamp",
        "store.escrow",
        "store.journal",
        "store.keys",
        "store.seal",
        "trail.note",
        "trail.stamp",
    },
    "ctypes": {"pixels.sandbox"},
    "httptools": {"probe.web.httpclient", "web.http1"},
    "hyperscan": {"screen.search"},
    "imagecodecs": {"pixels.codecs"},
    "jinja2": {"web.ui.pages"},
    "joserfc": {"web.jwks", "web.jws"},
    "jpeg_ls": {"pixels.codecs"},
    "numpy": {"pixels.codecs", "pixels.grayscale", "pixels.transcoding"},
    "psycopg": {"store.postgresql"},
    "pyexpat": {"dicom.xmlmodel"},
    "rfc3161_client": {"signatures.timestamp", "trail.stamp"},
    "rich": {"cli"},
    "segno": {"web.ui.entering"},
    "select": {"net", "serving.dicomworker", "serving.farstore", "serving.pulse"},
    "signal": {"cli", "serving.checkworker", "serving.dicomworker", "serving.digestworker", "serving.webworker"},
    "resource": {"pixels.sandbox"},
    "socket": {
        "app",
        "net",
        "pixels.pool",
        "probe.line",
        "probe.permits.names",
        "screen.clamd",
        "serving.dicomworker",
        "serving.dicomworkers",
        "serving.farstore",
        "serving.supervisor",
        "serving.webservice",
        "serving.webworker",
        "store.remote",
        "web.server",
        "web.transport",
    },
    "sqlalchemy": {"store", "trail.log"},
    "sqlcipher3": {"store.database"},
    "ssl": {"net.tls", "web.transport"},
    "starlette": {"web"},
    "subprocess": {
        "admin.viewer",
        "pixels.pool",
        "serving.checkservice",
        "serving.digestservice",
        "serving.keeping",
        "store.keys",
    },
    "tempfile": {"admin.viewer", "net.tls"},
    "typer": {"cli"},
    "uvloop": {"serving.webworker"},
    "webauthn": {"people.ceremonies"},
    "xml": {"web.wadl"},
    "yara_x": {"screen.yara"},
    "zlib": {
        "dicom.inflate",
        "pixels.transcoding",
        "screen.documents",
        "screen.inflating",
        "serving.board",
        "viewer.installed",
        "web.coding",
    },
}
"""Outside modules that are used at a few places only, so that one can look there."""

NOWHERE = {
    "ftplib", "http.client", "http.cookiejar", "http.server", "marshal", "pickle", "pydicom", "pynetdicom", "random",
    "requests", "shelve", "smtplib", "telnetlib", "urllib.error", "urllib.request", "urllib.robotparser", "xml.dom",
    "xml.parsers", "xml.sax", "xmlrpc", "yaml",
}  # fmt: skip
"""Nothing here calls out, but for what ``CALLS_OUT`` names, and XML is read by ``pyexpat`` only. Unpickling runs what
it reads; ``random`` can be guessed; a data set is never handed to another parser."""

CALLS_OUT = {("net.outbound", "http.client")}
"""Asks the time stamp authority and the identity providers that the configuration names, and nobody else."""


@dataclass(frozen=True)
class Import:
    """One import of ``name`` (dotted, without ``strongroom.`` if it is ours) by a module."""

    by: str
    name: str
    ours: bool
    types_only: bool


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module by its dotted name below the package, with its tree."""
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__") or "strongroom"
        yield name, ast.parse(path.read_text(encoding="utf-8"))


def imports(of: Iterable[tuple[str, ast.Module]]) -> Iterator[Import]:
    """Every import of these modules, wherever in them it stands."""
    for by, tree in of:
        for_types = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{by} imports relatively"
                module = node.module or ""
                names = [f"{module}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                ours = name.split(".")[0] == "strongroom"
                bare = name.removeprefix("strongroom").removeprefix(".") or "strongroom"
                yield Import(by, bare, ours, node in for_types)


ALL_IMPORTS = tuple(imports(modules()))
OURS = tuple(each for each in ALL_IMPORTS if each.ours)
OUTSIDE = tuple(each for each in ALL_IMPORTS if not each.ours)


def room_of(name: str) -> str:
    return name.split(".")[0]


def is_in(name: str, places: set[str]) -> bool:
    """Whether a module lies in one of the places: rooms or modules."""
    return any(name == place or name.startswith(place + ".") for place in places)


def test_an_import_is_seen_wherever_it_stands() -> None:
    text = """
import os.path
from strongroom.net import scp
if TYPE_CHECKING:
    import ssl
def later():
    from strongroom import app
"""
    found = [(each.name, each.ours, each.types_only) for each in imports([("store.index", ast.parse(text))])]
    assert found == [
        ("os.path", False, False), ("net.scp", True, False), ("ssl", False, True), ("app", True, False),
    ]  # fmt: skip


def test_every_room_has_its_rule() -> None:
    assert {room_of(name) for name, _ in modules()} == set(ROOMS)


def test_rooms_import_only_what_they_may() -> None:
    breaches = [
        f"{each.by} imports {each.name}"
        for each in OURS
        if room_of(each.name) not in ROOMS[room_of(each.by)] | WORDS | {room_of(each.by)}
        and not is_the_package_itself(each)
    ]
    assert breaches == []


def is_the_package_itself(each: Import) -> bool:
    """``from strongroom import app`` names a room, ``from strongroom import __version__`` the package."""
    return each.name in ("strongroom", "__version__")


@pytest.mark.parametrize("place", sorted(NARROWER))
def test_some_modules_import_less_than_their_room(place: str) -> None:
    breaches = [
        f"{each.by} imports {each.name}"
        for each in OURS
        if is_in(each.by, {place})
        and room_of(each.name) not in WORDS
        and not is_in(each.name, NARROWER[place] | {place})
    ]
    assert breaches == []


def test_no_rooms_import_each_other() -> None:
    def reached(room: str, seen: frozenset[str]) -> set[str]:
        found: set[str] = set()
        for other in ROOMS[room] - seen:
            found |= {other} | reached(other, seen | {other})
        return found

    assert [room for room in ROOMS if room in reached(room, frozenset())] == []


def pure_modules() -> list[str]:
    names = [name for name, _ in modules()]
    return [
        name
        for name in names
        if room_of(name) in PURE_ROOMS
        or name in PURE_MODULES
        or (room_of(name) == "archive" and name not in IMPURE_IN_ARCHIVE)
    ]


def test_pure_modules_touch_nothing_of_the_machine() -> None:
    pure = set(pure_modules())
    breaches = [
        f"{each.by} imports {each.name}" for each in OUTSIDE if each.by in pure and room_of(each.name) in NEVER_IN_PURE
    ]
    assert breaches == []


def test_pure_modules_ask_no_clock_and_open_no_file() -> None:
    pure = set(pure_modules())
    breaches = []
    for name, tree in modules():
        if name not in pure:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("open", "input", "print", "eval", "exec") or called.endswith(
                    (".now", ".today", ".utcnow")
                ):
                    breaches.append(f"{name} calls {called}")
    assert breaches == []


@pytest.mark.parametrize("outside", sorted(TOUCHED_BY))
def test_an_outside_module_is_touched_where_one_would_look(outside: str) -> None:
    users = {each.by for each in OUTSIDE if room_of(each.name) == outside and not each.types_only}
    assert {user for user in users if not is_in(user, TOUCHED_BY[outside])} == set()
    unused = {place for place in TOUCHED_BY[outside] if not any(is_in(user, {place}) for user in users)}
    assert unused == set(), "a rule that is wider than it must be"


def test_some_modules_are_imported_nowhere() -> None:
    assert [
        f"{each.by} imports {each.name}"
        for each in OUTSIDE
        if is_in(each.name, NOWHERE) and (each.by, each.name) not in CALLS_OUT
    ] == []


def test_nothing_runs_text_as_code() -> None:
    breaches = []
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                shell = any(word.arg == "shell" for word in node.keywords)
                if called in ("eval", "exec", "compile", "__import__", "os.system", "os.popen") or shell:
                    breaches.append(f"{name} calls {called}")
    assert breaches == []


def test_the_environment_and_command_line_arguments_are_read_in_one_place() -> None:
    """``cli`` looks whether it is the probe that is called, which needs nothing of an archive."""
    readers = {
        name
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv", "sys.argv")
    }
    assert readers <= {"cli", "config.home"}


def test_only_the_shell_prints() -> None:
    printers = {
        name
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "typer.echo", "sys.stdout.write")
    }
    assert {name for name in printers if room_of(name) not in ("cli", "__main__")} == set()
