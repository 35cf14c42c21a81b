"""Two reports held against each other, in the words of those who scanned the world twice: good, bad, ugly.

good  was open or weak, and is not any more
bad   still is; what was bad news and was not tested this time counts as still there, for nobody has seen it closed; or
      is bad news of what was not tested before, so that nobody can say whether it is new
ugly  is new or worse: a finding, a severity, a grade, or a target that was not there

Who stops answering is out of sight and not better: that is good only where the scope expects the target to be closed.

Both reports are ``report.json``; they are read as data and never believed beyond their words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from strongroom.errors import ConfigError
from strongroom.probe.judging.findings import BAD_NEWS, CLOSED, Severity, Verdict
from strongroom.probe.reporting.report_json import FORMAT
from strongroom.probe.reporting.wording import visible

MAX_REPORT_BYTES: Final = 256 * 2**20
_LETTERS: Final = "ABCDF"


class Change(StrEnum):
    """What became of something."""

    GOOD = "good"
    BAD = "bad"
    UGLY = "ugly"


@dataclass(frozen=True, slots=True)
class Changed:
    """One difference. ``check`` is empty where it is about the target as a whole."""

    change: Change
    target: str
    address: str
    check: str
    severity: str
    words: str


@dataclass(frozen=True, slots=True)
class Difference:
    """All differences, and the levels of both runs: a lower level sees less, and so does a run that was ``stopped``."""

    changes: tuple[Changed, ...]
    levels: tuple[str, str]
    stopped: tuple[str, str]

    @property
    def exit_status(self) -> int:
        """1 if anything is bad or ugly, else 0."""
        return int(any(each.change is not Change.GOOD for each in self.changes))


@dataclass(frozen=True, slots=True)
class _Judged:
    verdict: Verdict
    severity: Severity
    says: str

    @property
    def is_bad(self) -> bool:
        return self.verdict in BAD_NEWS

    @property
    def weight(self) -> tuple[int, bool]:
        return self.severity, self.verdict is Verdict.FAIL


@dataclass(frozen=True, slots=True)
class Report:
    """What of a report is compared: the level, and of each subject the letter and the verdicts by check.

    ``stopped`` is why the run is not complete; ``closed`` are the targets of which the scope expects no answer.
    """

    level: str
    stopped: str
    closed: frozenset[str]
    grades: Mapping[tuple[str, str], str]
    verdicts: Mapping[tuple[str, str], Mapping[str, _Judged]]


def parse_report(raw: bytes) -> Report:
    """Return a report. Raises ConfigError if it is none of this format."""
    if len(raw) > MAX_REPORT_BYTES:
        raise ConfigError(f"a report of {len(raw)} bytes; at most {MAX_REPORT_BYTES} are read")
    try:
        report: Any = json.loads(raw)
        if report["format"] != FORMAT:
            raise ConfigError(f"not a report of the format {FORMAT}")
        grades, verdicts = {}, {}
        for target in report["targets"]:
            subject = str(target["target"]), str(target["address"])
            grades[subject] = str(target["grade"]["letter"])
            verdicts[subject] = {str(each["check"]): _judged(each) for each in target["findings"]}
        run = report["run"]
        closed = frozenset(name for name, posture in run.get("postures", {}).items() if posture == CLOSED)
        return Report(str(run["level"]), str(run["stopped"]), closed, grades, verdicts)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"not a report of the probe: {type(error).__name__}") from None


def _judged(raw: Mapping[str, Any]) -> _Judged:
    return _Judged(Verdict(raw["verdict"]), Severity[str(raw["severity"]).upper()], str(raw["says"]))


def compare(old: Report, new: Report) -> Difference:
    """Return the differences, ugly first, then bad, then good, the most severe of each first."""
    changes: list[Changed] = []
    for subject in dict.fromkeys((*old.grades, *new.grades)):
        changes += _compare_subject(subject, old, new)
    order = list(Change)
    changes.sort(
        key=lambda each: (-order.index(each.change), -Severity[each.severity.upper()], each.target, each.check)
    )
    return Difference(tuple(changes), (old.level, new.level), (old.stopped, new.stopped))


def _compare_subject(subject: tuple[str, str], old: Report, new: Report) -> Iterator[Changed]:
    before, after = old.verdicts.get(subject, {}), new.verdicts.get(subject, {})
    letters = old.grades.get(subject, ""), new.grades.get(subject, "")
    is_closed = subject[0] in new.closed
    is_out_of_sight = letters[1] == "-" != letters[0] and not is_closed
    yield from _compare_grades(subject, letters, is_closed=is_closed, is_deeper=new.level > old.level)
    for check in sorted({*before, *after}):
        was, is_now = before.get(check), after.get(check)
        change = _change(was, is_now)
        if change is not None and change[0] is Change.GOOD and is_out_of_sight and was is not None:
            change = Change.BAD, f"not tested this time, for nothing was graded; it was: {was.says}"
        if change is None:
            continue
        told = is_now or was
        assert told is not None
        yield Changed(change[0], *subject, check, str(told.severity), change[1])


def _change(was: _Judged | None, is_now: _Judged | None) -> tuple[Change, str] | None:
    if was is not None and was.is_bad:
        if is_now is None:
            return Change.BAD, f"not looked at this time; it was: {was.says}"
        if is_now.verdict is Verdict.NOT_TESTED:
            return Change.BAD, f"not tested this time ({is_now.says}); it was: {was.says}"
        if not is_now.is_bad:
            return Change.GOOD, f"{is_now.says} It was: {was.says}"
        if is_now.weight > was.weight:
            return Change.UGLY, f"worse: {is_now.says}"
        return Change.BAD, f"still: {is_now.says}"
    if is_now is not None and is_now.is_bad:
        if was is not None and was.verdict is Verdict.NOT_TESTED:
            return Change.BAD, f"first tested this time: {is_now.says}"
        return Change.UGLY, f"new: {is_now.says}"
    return None


def _compare_grades(
    subject: tuple[str, str], letters: tuple[str, str], *, is_closed: bool, is_deeper: bool
) -> Iterator[Changed]:
    was, is_now = letters
    if was == is_now:
        return
    if not is_now:
        yield Changed(Change.BAD, *subject, "", "info", f"grade {was}, and no answer this time or not in the scope")
        return
    if was in _LETTERS and is_now in _LETTERS and was:
        worse = _LETTERS.index(is_now) > _LETTERS.index(was)
        change = (Change.BAD if is_deeper else Change.UGLY) if worse else Change.GOOD
        because = ", at a level that sees more" if worse and is_deeper else ""
        yield Changed(change, *subject, "", "info", f"grade {was} became {is_now}{because}")
    elif is_now == "-":
        change, words = (
            (Change.GOOD, "nothing answers any more, as the scope expects")
            if is_closed
            else (Change.BAD, "it was not tested this time, for nothing that could be graded answered")
        )
        yield Changed(change, *subject, "", "info", f"grade {was or 'none'} became -: {words}")
    elif is_now in "CDF":
        yield Changed(Change.UGLY, *subject, "", "info", f"grade {is_now}, and none before")


def difference_text(difference: Difference) -> str:
    """Return it as lines, with a line end."""
    lines: list[str] = []
    if difference.levels[0] != difference.levels[1]:
        lines.append(f"levels differ: {difference.levels[0]} before, {difference.levels[1]} now")
    for which, stopped in zip(("before", "now"), difference.stopped, strict=True):
        if stopped:
            lines.append(f"the run {which} is not complete: {stopped}")
    for change in reversed(Change):
        found = [each for each in difference.changes if each.change is change]
        lines.append(f"{change.upper()}: {len(found)}")
        lines += [
            f"  {each.target} ({each.address})  {each.check or 'grade'}"
            f"{f'  {each.severity}' if each.check else ''}  {each.words}"
            for each in found
        ]
    return visible("\n".join(lines) + "\n")


def difference_json(difference: Difference) -> str:
    """Return it as JSON, with a line end."""
    counts = {str(change): sum(each.change is change for each in difference.changes) for change in Change}
    told = {
        "format": "strongroom-probe-diff/1",
        "levels": {"old": difference.levels[0], "new": difference.levels[1]},
        "counts": counts,
        "changes": [
            {
                "change": str(each.change),
                "target": each.target,
                "address": each.address,
                "check": each.check,
                "severity": each.severity,
                "words": each.words,
            }
            for each in difference.changes
        ],
    }
    return json.dumps(told, indent=1, ensure_ascii=True) + "\n"
