"""Write ``files.tsv`` of the viewer anew, from its packed package: after another version, or another change in it.

    npm pack @ohif/app@VERSION && python tools/pin_viewer.py ohif-app-VERSION.tgz

Version and integrity are in ``src/strongroom/viewer/package-lock.json``; the name of the bundle in its ``index.html``.
"""

from __future__ import annotations

import gzip
import re
import sys
import tarfile
from hashlib import sha256
from pathlib import Path

from strongroom.viewer.installing import contents, require_pinned
from strongroom.viewer.pin import Pin, build_of, own_files, parse_lock

FOLDER = Path(__file__).parents[1] / "src" / "strongroom" / "viewer"


def main() -> int:
    """Write the table; print what was left out."""
    package = Path(sys.argv[1])
    version, sha512 = parse_lock((FOLDER / "package-lock.json").read_text(encoding="utf-8"))
    pin = Pin(version, sha512, build_of(version, sha512, own_files()), {})
    require_pinned(package, pin)
    found = dict(contents(package, pin.build))
    asked = re.findall(rf"/files/{re.escape(pin.build)}/([^\"]+)\"", found["index.html"].decode())
    if missing := set(asked) - set(found):
        sys.exit(f"index.html asks for {min(missing)}, which is not there")
    rows = [f"{name}\t{len(found[name])}\t{sha256(found[name]).hexdigest()}" for name in sorted(found)]
    (FOLDER / "files.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    with tarfile.open(package, "r:gz") as packed:
        sizes = [member.size for member in packed if member.isreg()]
    kept, packed_bytes = sum(map(len, found.values())), sum(len(gzip.compress(each)) for each in found.values())
    print(f"{pin.build}: of {len(sizes)} files with {sum(sizes) / 1e6:.1f} MB, {len(found)} with {kept / 1e6:.1f} MB")
    print(f"  are kept, {packed_bytes / 1e6:.1f} MB compressed; the package has {package.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
