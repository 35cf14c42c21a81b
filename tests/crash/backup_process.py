"""A process that makes or restores a backup: run by test_crash_backup under strace, which kills it at a system call.

    python backup_process.py create|restore|drill HOME MEDIUM SCRATCH

Says ``DONE`` and the name of the backup when it has it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from strongroom.admin import backup, drill
from strongroom.admin.restore import RestoreOrder, restore
from strongroom.app import LOCAL_LOG, Archive
from strongroom.config import Home


def main() -> None:
    """Do it and say so."""
    what, (home, medium, scratch) = sys.argv[1], map(Path, sys.argv[2:])
    if what == "restore":
        done = restore(RestoreOrder(medium, home), lambda *_: None)
        assert done.is_finished
        name = done.manifest.name
    else:
        archive = Archive(Home(home), LOCAL_LOG)
        if what == "create":
            name = backup.create(archive, medium, lambda *_: None).manifest.name
        else:
            drilled = drill.drill(archive, RestoreOrder(medium, scratch), lambda *_: None)
            assert not drilled.findings
            name = drilled.restored.manifest.name
    print("DONE", name, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
