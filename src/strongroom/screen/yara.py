"""Rules of the operator's, run by YARA-X over what arrives. The package is optional: ``strongroom[yara]``.

An object is looked at in windows of 8 MiB, each of which begins 256 KiB before the end of the one before, so that an
object of up to 8 MiB, nearly every one, is looked at as a whole, and no other takes more memory. In a longer one,
``filesize`` and offsets in conditions are those of the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from strongroom.dicom.dictionary import TransferSyntax
from strongroom.errors import ConfigError, EngineFailed
from strongroom.screen.findings import FILE, Confidence, Finding, Place, Severity
from strongroom.screen.places import Places
from strongroom.screen.rules import RULES

if TYPE_CHECKING:
    import yara_x

ENGINE: Final = "yara"
WINDOW_BYTES: Final = 8 << 20
OVERLAP_BYTES: Final = 256 << 10
_RULE: Final = RULES["SR-YARA-001"]
_SUFFIXES: Final = (".yar", ".yara")
_MAX_MATCHES_PER_PATTERN: Final = 64
_MAX_FINDINGS: Final = 200
_MAX_WORDS: Final = 200


class YaraRules:
    """Compiled rules. Thread-safe: each scan has a scanner of its own."""

    def __init__(self, rules: yara_x.Rules, timeout_s: float) -> None:
        self._rules = rules
        self._timeout_s = timeout_s

    @classmethod
    def load(cls, paths: Sequence[str], timeout_s: float) -> YaraRules:
        """Compile the files of rules; of a folder, those in it that are called ``*.yar`` and ``*.yara``.

        Raises ConfigError if one cannot be read or compiled, if there is none, or YARA-X is not installed.
        """
        try:
            import yara_x
        except ImportError:
            raise ConfigError("YARA rules need YARA-X: pip install 'strongroom[yara]'") from None
        compiler = yara_x.Compiler()
        for path in _files(paths):
            try:
                text = path.read_text(encoding="utf-8")
                compiler.add_include_dir(str(path.parent))
                compiler.new_namespace(path.stem)
                compiler.add_source(text, origin=path.name)
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"YARA rules {path} cannot be read: {error}") from None
            except yara_x.CompileError as error:
                raise ConfigError(f"YARA rules {path} cannot be compiled: {error}") from None
        return cls(compiler.build(), timeout_s)

    def begin(self, transfer_syntax: TransferSyntax | None, *, inflated: bool = False) -> YaraScan:
        """Return the scan of one object, or of what a deflated one inflates to."""
        return YaraScan(self._rules, self._timeout_s, Places(transfer_syntax), inflated=inflated)


def _files(paths: Sequence[str]) -> list[Path]:
    files: list[Path] = []
    for text in paths:
        path = Path(text)
        if path.is_dir():
            files += sorted(each for each in path.iterdir() if each.suffix in _SUFFIXES)
        else:
            files.append(path)
    if not files:
        raise ConfigError(f"there are no YARA rules in {', '.join(paths)}")
    return files


class YaraScan:
    """One object on its way past the rules. Not thread-safe."""

    def __init__(self, rules: yara_x.Rules, timeout_s: float, places: Places, *, inflated: bool = False) -> None:
        self._rules = rules
        self._inflated = inflated
        self._timeout_s = timeout_s
        self._places = places
        self._window = bytearray()
        self._base = 0
        self._findings: dict[tuple[str, str], Finding] = {}

    def feed(self, data: memoryview) -> None:
        """Take the next bytes. Raises EngineFailed."""
        while data:
            taken = min(len(data), WINDOW_BYTES - len(self._window))
            self._window += data[:taken]
            data = data[taken:]
            if len(self._window) == WINDOW_BYTES and data:
                self._look(is_last=False)
                del self._window[:-OVERLAP_BYTES]
                self._base += WINDOW_BYTES - OVERLAP_BYTES

    def finish(self) -> tuple[Finding, ...]:
        """Declare the end, and return what matched: one finding for each rule and element. Raises EngineFailed."""
        self._look(is_last=True)
        self._window.clear()
        return tuple(self._findings.values())

    def close(self) -> None:
        """Give up."""
        self._window.clear()

    def _look(self, *, is_last: bool) -> None:
        import yara_x

        window = bytes(self._window)
        scanner = yara_x.Scanner(self._rules)
        scanner.set_timeout(max(1, round(self._timeout_s)))
        scanner.max_matches_per_pattern(_MAX_MATCHES_PER_PATTERN)
        try:
            matching = scanner.scan(window).matching_rules
        except yara_x.TimeoutError:
            raise EngineFailed(ENGINE, "timeout") from None
        except yara_x.ScanError as error:
            raise EngineFailed(ENGINE, f"scan failed: {type(error).__name__}") from None
        if matching or not is_last:
            self._places.show(window, self._base, is_last=is_last)
        for rule in matching:
            self._matched(rule)

    def _matched(self, rule: yara_x.Rule) -> None:
        found = sorted(
            (each.offset, each.length, pattern.identifier) for pattern in rule.patterns for each in pattern.matches
        )
        if not found:
            self._add(rule, FILE, Place(FILE, self._base, len(self._window), self._inflated), "its condition holds")
        for offset, length, pattern in found:
            path = self._places.path_at(self._base + offset)
            self._add(rule, path, Place(path, self._base + offset, length, self._inflated), f"{pattern} matches")

    def _add(self, rule: yara_x.Rule, path: str, place: Place, what: str) -> None:
        name = f"{rule.namespace}:{rule.identifier}"
        if (name, path) in self._findings or len(self._findings) >= _MAX_FINDINGS:
            return
        metadata = {key.lower(): value for key, value in rule.metadata}
        description = str(metadata.get("description", ""))[:_MAX_WORDS]
        words = f"rule {name}, {what}" + (f": {description}" if description else "")
        self._findings[name, path] = Finding(_RULE, _severity(metadata), Confidence.MEDIUM, place, words)


def _severity(metadata: dict[str, object]) -> Severity:
    try:
        return Severity.parse(str(metadata.get("severity", "")))
    except ValueError:
        return _RULE.severity
