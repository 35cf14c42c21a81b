"""All commands together."""

from __future__ import annotations

import typer

from strongroom import __version__
from strongroom.cli import (
    alerts,
    backup,
    check,
    deletion,
    groups,
    jobs,
    keys,
    media,
    new_group,
    peers,
    probe,
    quarantine,
    screening,
    serving,
    sharing,
    signatures,
    status,
    tokens,
    trail,
    unsafe,
    users,
    viewer,
)

app: typer.Typer = new_group(f"Strongroom {__version__}: an archive for medical images that cannot be left open.")
app.command("init")(serving.init)
app.command("serve")(serving.serve)
app.command("status")(status.status)
app.command("import")(media.import_)
app.command("export")(media.export)
app.command("delete")(deletion.delete)
app.command("check")(check.check)
app.command("alerts")(alerts.alerts)
app.command("jobs")(jobs.jobs)
app.command("screen")(screening.screen)
app.command("disarm")(screening.disarm)
app.command("signatures")(signatures.signatures)
app.add_typer(peers.group, name="peer")
app.add_typer(users.group, name="user")
app.add_typer(groups.group, name="group")
app.add_typer(tokens.group, name="token")
app.add_typer(keys.group, name="keys")
app.add_typer(trail.group, name="trail")
app.add_typer(quarantine.group, name="quarantine")
app.add_typer(probe.group, name="probe")
app.add_typer(backup.group, name="backup")
app.add_typer(sharing.shares, name="share")
app.add_typer(sharing.emergencies, name="break-glass")
app.add_typer(viewer.group, name="viewer")
app.add_typer(unsafe.group, name="unsafe")
