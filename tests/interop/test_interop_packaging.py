"""The service unit and the container file: what they promise is checked, and the server runs within what they allow.

Neither systemd nor a container is started: the server is run with the same privileges, files, memory and system calls.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import archives
from harness.archives import RunningArchive, clean_environment, new_home, strongroom_command
from harness.samples import sample
from harness.samples_archive import read_sample
from harness.web import client_of, multipart
from strongroom.config import Home

pytestmark = pytest.mark.interop
ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "packaging" / "systemd").iterdir())
UNIT = ROOT / "packaging" / "systemd" / "strongroom.service"
CONTAINER = ROOT / "packaging" / "container" / "Containerfile"
SOMEBODY = 10001
PR_SET_MDWE = 65
ONLY_OF_ROOT = {"fchown"}
"""SQLite gives its files to who owns the database; it does not try as anybody else."""
MOST_EXPOSED = 20
"""Of systemd-analyze's 100."""


def settings_of(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def needs(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_understands_every_line(unit: Path) -> None:
    done = subprocess.run(
        [needs("systemd-analyze"), "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if unit.name in line or "strongroom" in line]
    assert [line for line in said if "is not executable" not in line] == []


@pytest.mark.parametrize("unit", [each for each in UNITS if each.suffix == ".service"], ids=lambda path: path.name)
def test_little_is_left_open(unit: Path) -> None:
    command = [needs("systemd-analyze"), "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_the_unit_calls_what_there_is() -> None:
    for unit in UNITS:
        for command in settings_of(unit).get("ExecStart", []):
            words = shlex.split(command)
            done = subprocess.run(
                [*strongroom_command(*words[1:]), "--help"], env=clean_environment(), capture_output=True, timeout=60,
                check=False,
            )  # fmt: skip
            assert done.returncode == 0, command


def group(name: str, seen: frozenset[str] = frozenset()) -> set[str]:
    """The system calls of a group of systemd's."""
    text = subprocess.run(
        [needs("systemd-analyze"), "syscall-filter", name], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    words = [line.strip() for line in text.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    calls = {word for word in words if not word.startswith("@")}
    for word in words:
        if word.startswith("@") and word not in seen:
            calls |= group(word, seen | {name})
    return calls


def allowed_calls() -> set[str]:
    allowed: set[str] = set()
    for value in settings_of(UNIT)["SystemCallFilter"]:
        named = set().union(*(group(word) for word in value.removeprefix("~").split()))
        allowed = allowed - named if value.startswith("~") else allowed | named
    return allowed


def token_of(home: Home) -> str:
    """Made before the archive is somebody else's."""
    return RunningArchive(home, 0).add_token("user", "search,read,store,metrics")


def use(running: RunningArchive, token: str) -> None:
    """Store an image, search for it, have it rendered, and ask how it is."""
    client = client_of(running, token)
    image = read_sample(sample("CT_small.dcm"))
    headers, body = multipart([("application/dicom", image.raw)])
    stored = client.request("POST", "/studies", {**headers, "Accept": "application/dicom+json"}, body)
    assert stored.status == 200, stored.content
    assert len(client.get("/studies").json) == 1
    path = f"/studies/{image.study}/series/{image.series}/instances/{image.instance}/rendered"
    assert client.get(path, "image/jpeg").status == 200
    assert client.get("/metrics").status == 200
    assert client.get("/health/ready").status in (200, 503)


def test_the_server_makes_no_call_that_the_unit_forbids(tmp_path: Path) -> None:
    home, summary = (
        new_home(tmp_path / "home", {"https": {"workers": 1}, "screening": {"digests": True}}),
        tmp_path / "calls",
    )
    command = [needs("strace"), "-f", "-c", "-S", "name", "-U", "name", "-o", str(summary)]
    token = token_of(home)
    with archives.serving(home, [*command, *strongroom_command("serve", "--home", home.root)]) as running:
        use(running, token)
        assert running.process is not None
        (child,) = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
        os.kill(int(child), 15)
        assert running.process.wait(120) == 0
    used = {line.strip() for line in summary.read_text().splitlines()}
    used = {each for each in used if re.fullmatch("[a-z0-9_]+", each)} - {"syscall", "total", "name"}
    assert {"pwrite64", "accept4", "fdatasync"} <= used
    assert used - allowed_calls() - ONLY_OF_ROOT == set()


def test_the_server_makes_no_memory_that_can_be_written_and_run(tmp_path: Path) -> None:
    assert settings_of(UNIT)["MemoryDenyWriteExecute"] == ["yes"]
    if ctypes.CDLL(None).prctl(PR_SET_MDWE + 1, 0, 0, 0, 0) < 0:
        pytest.skip("this kernel cannot forbid it")
    home = new_home(tmp_path / "home", {"https": {"workers": 1}})
    forbid = f"assert ctypes.CDLL(None).prctl({PR_SET_MDWE}, 1, 0, 0, 0) == 0"
    lock = f"import ctypes, os, sys; {forbid}; os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", lock, *strongroom_command("serve", "--home", home.root)]
    token = token_of(home)
    with archives.serving(home, command) as running:
        use(running, token)
        assert running.stop() == 0
        assert "Traceback" not in running.output


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """A folder that an account without rights may be given: pytest's own is closed to it."""
    folder = Path(tempfile.mkdtemp(prefix="strongroom-packaging-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def closed_folder(path: Path) -> Path | None:
    """The first folder on the way to ``path`` that others may not enter."""
    return next((each for each in reversed((path, *path.parents)) if not each.stat().st_mode & 0o001), None)


def test_the_server_runs_as_nobody_where_nothing_else_can_be_written(own_folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    home = new_home(own_folder / "archive", {"https": {"workers": 1}})
    token = token_of(home)
    temporary = own_folder / "tmp"
    temporary.mkdir()
    for path in (home.root, home.default_keys):
        for each in (path, *path.rglob("*")):
            os.chown(each, SOMEBODY, SOMEBODY)
    hidden = closed_folder(Path(sys.base_prefix))
    view = (
        ""
        if hidden is None
        else (
            f"mkdir {own_folder}/view; mount --bind {hidden} {own_folder}/view; "
            f"mount -t tmpfs -o mode=755 tmpfs {hidden}; "
            f"mkdir -p {sys.base_prefix}; "
            f"mount --bind {own_folder}/view/{Path(sys.base_prefix).relative_to(hidden)} {sys.base_prefix}; "
        )
    )
    become = f"setpriv --reuid {SOMEBODY} --regid {SOMEBODY} --clear-groups --no-new-privs --bounding-set=-all"
    script = (
        f"set -e; mount --make-rprivate /; {view}"
        f"for d in {home.root} {home.default_keys}; do mount --bind $d $d; done; "
        f"mount -t tmpfs -o mode=1777 tmpfs {temporary}; mount -o remount,bind,ro /; "
        f"if touch {own_folder}/probe 2>/dev/null; then echo the root can be written; exit 1; fi; "
        f'exec {become} --inh-caps=-all "$@"'
    )
    limits = [needs("unshare"), "--mount", "sh", "-c", script, "sh", "env", f"TMPDIR={temporary}"]
    with archives.serving(home, [*limits, *strongroom_command("serve", "--home", home.root)]) as running:
        assert running.process is not None
        status = Path(f"/proc/{running.process.pid}/status").read_text()
        assert re.search(rf"^Uid:\s+{SOMEBODY}\s+{SOMEBODY}", status, re.M)
        assert set(re.findall(r"^Cap(?:Eff|Prm|Bnd|Amb):\s+(\w+)", status, re.M)) == {"0" * 16}
        use(running, token)
        assert running.stop() == 0
        assert "Traceback" not in running.output


def instructions() -> list[tuple[str, str]]:
    text = CONTAINER.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def test_the_container_file_copies_what_there_is_and_runs_as_nobody() -> None:
    stages = "\n".join(f"{word} {rest}" for word, rest in instructions()).split("FROM ")[1:]
    assert len(stages) == 2
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
    last = stages[-1].splitlines()
    assert f"USER {SOMEBODY}" in last
    assert "STOPSIGNAL SIGTERM" in last
    assert "ADD " not in CONTAINER.read_text()
    ignored = (ROOT / ".containerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert {"!pyproject.toml", "!src", "!README.md", "!LICENSE"} <= set(ignored)


def test_the_health_check_of_the_container_says_how_it_is(running_archive: Callable[..., RunningArchive]) -> None:
    (check,) = [rest for word, rest in instructions() if word == "HEALTHCHECK"]
    flags, program, text = json.loads(check[check.index("[") :])[1:]
    running = running_archive(https={"workers": 1})
    assert (flags, program) == ("-P", "-c")
    text = text.replace("8443", str(running.https_port)).replace(
        "/var/lib/strongroom/archive/ca.pem", str(running.home.root / "ca.pem")
    )

    def asked() -> int:
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, timeout=60, check=False)
        return done.returncode

    assert asked() == 0
    assert running.stop() == 0
    assert asked() == 1


def test_what_the_image_installs_is_the_whole_product(tmp_path: Path) -> None:
    """The wheel that pip makes of what the container file copies has every file of the package."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run([*pip, "-w", tmp_path, source], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-1000:]
    (wheel,) = tmp_path.glob("strongroom-*.whl")
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(wheel)], capture_output=True, text=True, check=True
    ).stdout
    for path in (source / "src").rglob("*"):
        if path.is_file():
            assert str(path.relative_to(source / "src")) in listed, path
