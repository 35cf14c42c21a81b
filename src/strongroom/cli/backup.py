"""``backup create|list|restore|drill``."""

from __future__ import annotations

import dataclasses
import getpass
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from strongroom.admin import backup as administration
from strongroom.admin.backupsets import BackupMedium, Manifest, read_manifest
from strongroom.admin.drill import Drilled
from strongroom.admin.drill import drill as run_drill
from strongroom.admin.restore import Restored, RestoreOrder
from strongroom.admin.restore import restore as run_restore
from strongroom.app import LOCAL_LOG, Archive
from strongroom.cli import BAD_NEWS, new_group
from strongroom.cli.check import finding_line
from strongroom.cli.options import Format, FormatOption, HomeOption, home_of, minute_text, time_text
from strongroom.cli.progress import counted, duration, phases, printable, size
from strongroom.config import environment
from strongroom.errors import ConfigError, IntegrityError
from strongroom.store.check import Finding

group = new_group("Backups of the whole archive: made while it serves, restored, tried.")

PASSPHRASE = "STRONGROOM_BACKUP_PASSPHRASE"

FromOption = Annotated[Path, typer.Option("--from", help="Directory of the backups.", show_default=False)]
SetOption = Annotated[str, typer.Option("--set", help="Which backup, by its name; default: the newest.")]
AgainstOption = Annotated[
    list[Path] | None, typer.Option(help="A checkpoint file kept elsewhere; may be repeated.", show_default=False)
]


@group.command()
def create(
    to: Annotated[
        Path,
        typer.Option(
            help="Directory for this archive's backups, on another disk; made if missing.", show_default=False
        ),
    ],
    home: HomeOption = None,
    with_master_key: Annotated[
        bool,
        typer.Option("--with-master-key", help="Put the master keys in as well, sealed under a passphrase of its own."),
    ] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Back up the archive while it serves. What an earlier backup has copied is not copied again; exit 1 if an object
    of the archive was missing."""
    passphrase = _passphrase(is_new=True) if with_master_key else None
    with closing(Archive(home_of(home), LOCAL_LOG)) as archive, phases("backing up") as progress:
        done = administration.create(archive, to, progress, passphrase)
    manifest = done.manifest
    if output is Format.JSON:
        copied = {"objects_copied": done.objects_copied, "bytes_copied": done.bytes_copied}
        print(json.dumps(_manifest_json(manifest) | copied | {"elapsed_s": done.elapsed_s}, indent=2))
    else:
        print(f"backup {manifest.name} is complete: {_contents(manifest)}")
        said = f"{counted(done.objects_copied, 'object')} ({size(done.bytes_copied)})"
        print(f"{said} of it had to be copied; took {_seconds(done.elapsed_s)}")
        print(_about_keys(manifest, with_master_key))
    if manifest.missing:
        print(f"{len(manifest.missing)} objects are MISSING from the archive: run `strongroom check`", file=sys.stderr)
        raise typer.Exit(BAD_NEWS)


@group.command("list")
def list_(medium: FromOption, output: FormatOption = Format.TEXT) -> None:
    """Show every complete backup of a directory, the oldest first; no key is needed."""
    sets = BackupMedium(medium)
    sets.require_of()
    manifests, broken = [], []
    for name in sets.names():
        try:
            manifests.append(read_manifest(sets.folder(name)))
        except IntegrityError as error:
            broken.append(str(error))
    if output is Format.JSON:
        print(json.dumps([_manifest_json(each) for each in manifests], indent=2))
    else:
        for each in manifests:
            print(f"{each.name}  {_contents(each)}")
        if not manifests:
            print("no complete backup")
    for line in broken:
        print(printable(line), file=sys.stderr)
    if broken:
        raise typer.Exit(BAD_NEWS)


@group.command()
def restore(
    medium: FromOption,
    home: HomeOption = None,
    backup: SetOption = "",
    against: AgainstOption = None,
    index: Annotated[
        str, typer.Option(help="postgresql:// URL of an empty database, or `file`; default: the built-in file.")
    ] = "",
    key_dir: Annotated[
        Path | None, typer.Option(help="Directory with the master keys; default: as configured.", show_default=False)
    ] = None,
    with_master_key: Annotated[
        bool, typer.Option("--with-master-key", help="Take the master keys from the backup; asks for its passphrase.")
    ] = False,
    accept_findings: Annotated[
        bool, typer.Option("--accept-findings", help="Make it an archive although something is wrong with it.")
    ] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Put a backup into a new home, open every object of it and verify its trail; exit 1 on any finding, and then it
    is no archive yet. Stopped and started again, it goes on where it was."""
    passphrase = _passphrase(is_new=False) if with_master_key else None
    place = home_of(home)
    order = RestoreOrder(
        medium, place.root, backup, index, key_dir, passphrase, tuple(against or ()), accept_findings
    )  # fmt: skip
    with phases("restoring") as progress:
        restored = run_restore(order, progress)
    if output is Format.JSON:
        print(json.dumps(_restored_json(restored), indent=2))
    else:
        _say(_restored_words(restored))
        _say([_verdict(restored, place.root)])
    if restored.total_findings:
        raise typer.Exit(BAD_NEWS)


@group.command()
def drill(
    medium: FromOption,
    home: HomeOption = None,
    backup: SetOption = "",
    scratch: Annotated[
        Path | None,
        typer.Option(
            help="Where to restore to for the while; default: the directory of the backups.", show_default=False
        ),
    ] = None,
    against: AgainstOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Try a restore: into a scratch directory, checked, compared with the archive, recorded and removed again."""
    order = RestoreOrder(medium, scratch or medium / "drill", backup, against=tuple(against or ()))
    with closing(Archive(home_of(home), LOCAL_LOG)) as archive, phases("drill") as progress:
        drilled = run_drill(archive, order, progress)
    if output is Format.JSON:
        compared = dataclasses.asdict(drilled.comparison)
        said = {"compared": compared, "backup_age_s": drilled.age_s, "elapsed_s": drilled.needed_s}
        print(json.dumps(_restored_json(drilled.restored) | said | {"clean": not drilled.findings}, indent=2))
    else:
        _say(_restored_words(drilled.restored))
        _say(_drill_words(drilled))
    if drilled.findings:
        raise typer.Exit(BAD_NEWS)


def _passphrase(*, is_new: bool) -> str:
    given = environment(PASSPHRASE)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise ConfigError(f"set {PASSPHRASE}: the passphrase that seals the master keys in the backup")
    passphrase = getpass.getpass("passphrase of the backup: ")
    if is_new and getpass.getpass("once more: ") != passphrase:
        raise ConfigError("the two passphrases differ")
    return passphrase


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        print(printable(line))


def _contents(manifest: Manifest) -> str:
    counts = manifest.counts
    held = f", {counts['held']} in quarantine" if counts["held"] else ""
    missing = f", {len(manifest.missing)} objects MISSING" if manifest.missing else ""
    return (
        f"taken {minute_text(round(manifest.taken_s * 1e6))}, {counts['studies']} studies, "
        f"{counted(counts['instances'], 'object')} ({size(counts['data_bytes'])}){held}, "
        f"{sum(manifest.records.values())} trail records{missing}"
    )


def _about_keys(manifest: Manifest, is_with_keys: bool) -> str:
    masters = ", ".join(manifest.masters)
    if is_with_keys:
        return f"master keys {masters} are in it, under the passphrase: without it they are lost with the archive"
    return f"it opens with master key {masters}, which is not in it: keep a copy elsewhere"


def _seconds(span_s: float) -> str:
    return f"{span_s:.1f} s" if span_s < 60 else duration(span_s)


def _restored_words(restored: Restored) -> Iterator[str]:
    for finding in restored.findings:
        yield finding_line(finding)
    if restored.total_findings > len(restored.findings):
        yield f"and {restored.total_findings - len(restored.findings)} more findings"
    yield f"backup {restored.manifest.name}: {_contents(restored.manifest)}"
    said = f"{restored.total_findings} FINDINGS" if restored.total_findings else "clean"
    yield f"copied {size(restored.bytes_copied)} in {_seconds(restored.copy_s)}"
    yield (
        f"opened {counted(restored.objects, 'object')} and verified {restored.trail_records} trail records in "
        f"{_seconds(restored.check_s)}: {said}"
    )
    for path in restored.compared_with:
        yield f"compared with {path}"


def _verdict(restored: Restored, root: Path) -> str:
    if not restored.is_finished:
        return (
            f"{root} is NOT an archive yet: look at the findings, then run the same again, with --accept-findings if "
            "there is no better backup"
        )
    made = minute_text(round(restored.manifest.taken_s * 1e6))
    return f"{root} is the archive as it was at {made}; what came later is not in it. Next: strongroom serve"


def _drill_words(drilled: Drilled) -> Iterator[str]:
    for finding in drilled.findings[len(drilled.restored.findings) :]:
        yield finding_line(finding)
    compared = drilled.comparison
    yield (
        f"compared with the archive: {compared.same} instances the same, {len(compared.different)} different, "
        f"{compared.newer} came since, {compared.deleted} were deleted since"
    )
    yield f"recovery point: what came in the last {_seconds(drilled.age_s)} would be lost"
    needed_s = drilled.restored.copy_s + drilled.restored.check_s
    yield f"recovery time: {_seconds(needed_s)}, check included, on this machine"


def _manifest_json(manifest: Manifest) -> dict[str, object]:
    return {
        "backup": manifest.name,
        "archive": manifest.archive_id,
        "taken": time_text(round(manifest.taken_s * 1e6)),
        "counts": manifest.counts,
        "trail_records": manifest.records,
        "master_keys": list(manifest.masters),
        "missing": list(manifest.missing),
    }


def _restored_json(restored: Restored) -> dict[str, object]:
    findings: list[Finding] = list(restored.findings)
    return _manifest_json(restored.manifest) | {
        "clean": not restored.total_findings,
        "finished": restored.is_finished,
        "findings": [dataclasses.asdict(each) for each in findings],
        "total_findings": restored.total_findings,
        "objects": restored.objects,
        "bytes_copied": restored.bytes_copied,
        "trail_records_verified": restored.trail_records,
        "compared_with": list(restored.compared_with),
        "copy_s": restored.copy_s,
        "check_s": restored.check_s,
    }
