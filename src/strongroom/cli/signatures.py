"""``signatures``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from strongroom.admin.signatures import Looked, check_paths, check_stored, kept_reports
from strongroom.app import LOCAL_LOG, Archive
from strongroom.cli import BAD_NEWS
from strongroom.cli.options import Format, FormatOption, HomeOption, home_of, time_text
from strongroom.cli.progress import State, Work, counted, printable
from strongroom.errors import ConfigError
from strongroom.signatures.report_json import report_json

NAMED_UNSIGNED = 8
JsonObject = dict[str, Any]


def signatures(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Files, folders, or media with a DICOMDIR.", show_default=False)
    ] = None,
    home: HomeOption = None,
    sop: Annotated[str, typer.Option(metavar="UID", help="Check one stored object again.", show_default=False)] = "",
    study: Annotated[
        str, typer.Option(metavar="UID", help="Check all objects of a stored study again.", show_default=False)
    ] = "",
    trusted: Annotated[
        list[Path] | None,
        typer.Option(help="PEM file of certificates to trust, for PATHs; may be repeated.", show_default=False),
    ] = None,
    revoked: Annotated[
        list[Path] | None,
        typer.Option(
            help="Certificate revocation list, or folder of them, for PATHs; may be repeated.", show_default=False
        ),
    ] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Verify digital signatures (PS3.15 annex C) in files, or in what is stored; exit 1 if any does not hold.

    Without PATH, --sop or --study: what was found of each stored object that has signatures.
    """
    if paths:
        if sop or study:
            raise ConfigError("name files, or --sop or --study of an archive, not both")
        found = (
            _looked_json(each)
            for each in check_paths(paths, trusted or (), revoked or ())
            if each.report or each.reason
        )
        _show(found, output, is_trust_asked=bool(trusted))
        return
    if trusted or revoked:
        raise ConfigError(
            "--trusted and --revoked are for files; of an archive, [signatures] in config.toml names them"
        )
    archive = Archive(home_of(home), LOCAL_LOG)
    try:
        if sop or study:
            found = (_looked_json(each) for each in check_stored(archive, sop, study))
        else:
            found = (_kept_json(sop_uid, kept.checked_us, kept.report) for sop_uid, kept in kept_reports(archive))
        _show(found, output, is_trust_asked=bool(archive.config.signatures.trusted))
    finally:
        archive.close()


def _looked_json(looked: Looked) -> JsonObject:
    if looked.report is None:
        return {"name": looked.name, "validity": "unchecked", "problem": looked.reason, "signatures": []}
    return {"name": looked.name} | report_json(looked.report)


def _kept_json(sop_uid: str, checked_us: int, report: bytes) -> JsonObject:
    kept: JsonObject = json.loads(report)
    return {"name": sop_uid, "checked": time_text(checked_us)} | kept


def _show(found: Iterator[JsonObject], output: Format, *, is_trust_asked: bool) -> None:
    """Print all, and exit 1 if a signature does not hold, cannot be checked or, where that is asked, is not trusted."""
    sums = {"valid": 0, "invalid": 0, "unchecked": 0, "none": 0}
    untrusted = done = 0
    as_json = output is Format.JSON
    if as_json:
        print('{"results": [')
    with Work("verifying", "objects") as work:
        for each in found:
            if as_json:
                print(("," if done else "") + json.dumps(each))
            elif each["validity"] != "none":
                for line in _lines(each):
                    print(printable(line))
            sums[each["validity"]] += 1
            untrusted += any(signature["trust"] == "untrusted" for signature in each["signatures"])
            done += 1
            work.show(State(done, done))
    is_bad = bool(sums["invalid"] or sums["unchecked"] or (is_trust_asked and untrusted))
    if as_json:
        summary = {"objects": done, **sums, "untrusted": untrusted, "good": not is_bad}
        print(f'], "summary": {json.dumps(summary)}}}')
    else:
        said = ", ".join(f"{count} {word}" for word, count in sums.items() if count and word != "none")
        print(f"{counted(done, 'object')}: {said or 'no signatures'}" + (f", {untrusted} untrusted" * bool(untrusted)))
    if is_bad:
        raise typer.Exit(BAD_NEWS)


def _lines(each: JsonObject) -> Iterator[str]:
    yield f"{each['validity']:<9} {each['name']}"
    if each["problem"]:
        yield f"  {each['problem']}"
    for signature in each["signatures"]:
        yield from _signature_lines(signature)


def _signature_lines(signature: JsonObject) -> Iterator[str]:
    signer, time = signature["signer"], signature["certified_time"]
    why = f" ({signature['reason']})" if signature["reason"] else ""
    of = signature["place"] or "the data set"
    yield f"  {signature['validity']}{why}: signature {signature['uid']} of {of}, {signature['mac_algorithm']}"
    if signer:
        yield f"    by {signer['subject']}, {signer['key']}, certificate sha256 {signer['sha256']}"
        yield f"    {signature['trust']}" + (f": {signature['trust_reason']}" if signature["trust_reason"] else "")
    if signature["signed_at"]:
        yield f"    says that it was made {signature['signed_at']}"
    if time:
        yield f"    certified timestamp: {time['time'] or time['reason']}"
    if signature["weak"]:
        yield f"    weak: {', '.join(signature['weak'])}"
    if signature["profiles"]:
        yield f"    meets: {', '.join(signature['profiles'])}"
    yield f"    signs {counted(signature['signed_count'], 'element')}" + _left_out(signature)
    if signature["missing"]:
        yield f"    lists {counted(signature['missing_count'], 'element')} that are not there"


def _left_out(signature: JsonObject) -> str:
    count = signature["unsigned_count"]
    if not count:
        return " and leaves out none"
    named = ", ".join(signature["unsigned"][:NAMED_UNSIGNED])
    return f" and not these {count}: {named}" + (" ..." if count > NAMED_UNSIGNED else "")
