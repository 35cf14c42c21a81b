"""What is left out of OHIF, and what is changed in it, before it is served. Pure.

It is built to lie at the root of a site and to load whatever its address tells it to. Here it lies in a folder of its
own, loads from there only, and has one mode: a viewer. Every change has to find what it changes, as often as it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from strongroom.errors import IntegrityError

ROOT: Final = "/ohif"
"""Where the viewer's pages are, and its files below ``/files/BUILD/``."""

OWN_FILES: Final = ("index.html", "app-config.js", "begin.js")
"""Files of ours in the place of OHIF's."""

PLACE: Final = b"@PLACE@"
"""Stands in them, and in what is put into OHIF's, for the folder of the files."""

LEFT_OUT: Final = (
    "index.html", "app-config.js",  # ours instead
    "*.map", "_headers", "_redirects", "serve.json", "manifest.json",
    "sw.js", "init-service-worker.js",  # nothing is kept by a browser for when nobody is signed in
    "google.js", "oidc-client.min.js", "silent-refresh.html",  # signing in, which is done here
    "es6-shim.min.js", "polyfill.min.js",  # for browsers that have no modules
    "customizations/*",  # loaded when the address says so
    "ort/*",  # models that mark by themselves
    "assets/apple-*", "assets/android-*", "assets/mstile-*", "assets/coast-*", "assets/yandex-*", "assets/firefox_*",
    "assets/favicon*", "assets/browserconfig.xml", "assets/manifest.webapp",
    "dicom-microscopy-viewer/*", "5731.bundle.*", "8832.*", "9290.bundle.*", "5189.*",  # microscopy
    "8423.*", "9437.bundle.*", "4556.bundle.*",  # tests and development
    "2779.bundle.*", "1180.bundle.*",  # pleura lines
    "7499.bundle.*", "8492.*", "976.css",  # tumour volumes
    "4683.bundle.*", "1602.*",  # four dimensions
    "1483.bundle.*",  # segmentation
)  # fmt: skip
"""Names below ``dist`` that are not kept: modes and extensions that are not loaded, and what is for other sites."""


@dataclass(frozen=True, slots=True)
class Change:
    """``old`` becomes ``new`` in files whose names match, ``count`` times in each."""

    names: str
    old: bytes
    new: bytes
    count: int = 1


_MODES: Final = (
    b"basic", b"segmentation", b"tmtv", b"microscopy", b"preclinical-4d", b"ultrasound-pleura-bline"
)  # fmt: skip
_RUNTIMES: Final = ("app", "136", "2299", "8097", "compute", "histogram-worker", "interpolation", "polySeg")

CHANGES: Final = (
    *(
        Change(f"{name}.bundle.*.js", b'__webpack_require__.p = "/";', b'__webpack_require__.p = "' + PLACE + b'/";')
        for name in _RUNTIMES
    ),
    *(Change("app.bundle.*.js", b'pluginImports_modes.push("@ohif/mode-' + name + b'");\n', b"") for name in _MODES),
    Change("app.bundle.css", b"url(/", b"url(" + PLACE + b"/", 5),
    Change(
        "app.bundle.*.js", b'pluginImports_extensions.push("@ohif/extension-ultrasound-pleura-bline");\n', b""
    ),
    # Left in by whoever wrote it: every study that may have a video would put a warning on the console.
    Change("100.bundle.*.js", b"console.warn('dataSource=', dataSource);", b""),
)  # fmt: skip


EVALUATING: Final = ("8097.bundle.*.js", "polySeg.bundle.*.js")
"""Workers whose codecs, compiled from C++, put together their own functions as text."""

NONCE: Final = b"@NONCE@"
"""Stands in the page for what makes its styles good; put there with each answer."""


def is_kept(name: str) -> bool:
    """Whether a file of OHIF's, by its name below ``dist``, belongs to what is served."""
    return not any(fnmatchcase(name, pattern) for pattern in LEFT_OUT)


def evaluates(name: str) -> bool:
    """Whether a file is a worker that has to be let evaluate text."""
    return any(fnmatchcase(name, pattern) for pattern in EVALUATING)


def rewritten(name: str, content: bytes, build: str) -> bytes:
    """A file as it is served. Raises IntegrityError if what is to be changed is not there."""
    for change in CHANGES:
        if fnmatchcase(name, change.names):
            if content.count(change.old) != change.count:
                raise IntegrityError(f"{name} of the viewer is not as it was when its changes were written")
            content = content.replace(change.old, change.new)
    return content.replace(PLACE, f"{ROOT}/files/{build}".encode())


def ingredients(own: Mapping[str, bytes]) -> Iterator[bytes]:
    """Everything but OHIF that what is served is made of."""
    yield repr((LEFT_OUT, CHANGES)).encode()
    for name in OWN_FILES:
        yield own[name]
