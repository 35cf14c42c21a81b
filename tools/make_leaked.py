"""Make ``leaked.bin`` of lists of leaked passwords: JSON lists, or text with one on each line.

python tools/make_leaked.py LIST... --out src/strongroom/archive/leaked.bin
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from strongroom.archive.leaked import DIGEST_BYTES, pack
from strongroom.archive.passcodes import MIN_CHARS


def read(path: Path) -> list[str]:
    """The passwords of one list."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        found: list[str] = json.loads(text)
        return found
    return [line for line in text.splitlines() if line]


def main() -> None:
    """Read the lists, write the file, say how many there are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lists", nargs="+", type=Path, metavar="LIST")
    parser.add_argument("--out", required=True, type=Path)
    asked = parser.parse_args()
    packed = pack((each for path in asked.lists for each in read(path)), MIN_CHARS)
    asked.out.write_bytes(packed)
    print(f"{len(packed) // DIGEST_BYTES} passwords, {len(packed)} bytes")


if __name__ == "__main__":
    main()
