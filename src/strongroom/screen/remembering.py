"""A walk and its judge that know what earlier objects of the same sender had in their headers (see ``runs``)."""

from __future__ import annotations

from functools import partial
from itertools import compress, count
from operator import ne
from typing import Final, NamedTuple

from strongroom.dicom.dictionary import TransferSyntax
from strongroom.screen.judge import Judge
from strongroom.screen.limits import ScreenLimits
from strongroom.screen.runs import KEY_BYTES, Leaf, Run, ScreenMemory, Walked
from strongroom.screen.text import TEXT_VRS
from strongroom.screen.verdict import Verdict
from strongroom.screen.walk import Frame, Located, Walker

_ITEMS: Final = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_located: Final = partial(tuple.__new__, Located)


class _Taken(NamedTuple):
    """A run that was met at ``offset``."""

    run: Run
    offset: int
    values: tuple[bytes, ...]

    def at(self, number: int) -> Located:
        """Return where a leaf of it is."""
        offset, tag, node, vr, label = self.run.leaves[number].at
        return _located((self.offset + offset, tag, node, vr, label))

    def clean_texts(self) -> list[tuple[Located, bytes]]:
        """Return the texts of it that are not looked at, since they were."""
        texts = [number for number, leaf in enumerate(self.run.leaves) if leaf.at.vr in TEXT_VRS]
        found = [(self.at(number), self.values[number]) for number in texts if self.run.clean[number] is not None]
        return [(at, value) for at, value in found if value]


class RememberingJudge(Judge):
    """Judges of known runs the values that differ, and notes what is to be learnt. Not thread-safe."""

    def __init__(self, limits: ScreenLimits, verdict: Verdict, syntax: TransferSyntax) -> None:
        super().__init__(limits, verdict, syntax, inflated=False)
        self.leaves: list[Leaf] = []
        self.good_until = 1 << 63
        self._taken: list[_Taken] = []
        self._waiting: list[tuple[_Taken, int]] = []
        """Texts whose turn comes at the end of the buffer, by the number of the leaf."""
        self._looked: dict[int, int] = {}
        """How many looks a text at that offset took, in which nothing was found."""

    # What the walk tells ---------------------------------------------------------------------------------------------

    def value(self, at: Located, data: bytes, start: int, stop: int) -> None:
        """Look at a value that is whole at hand."""
        self.leaves.append(Leaf(at, at.offset + stop - start))
        super().value(at, data, start, stop)

    def long_value(self, at: Located, length: int) -> None:
        """Have a value looked at when it has come."""
        self._learn_before(at.offset)
        super().long_value(at, length)

    def fragment(self, at: Located, length: int, data: bytes, start: int) -> None:
        """Note where a fragment is."""
        self._learn_before(at.offset)
        super().fragment(at, length, data, start)

    def malformed(self, rule: str, at: Located, length: int, what: str) -> None:
        """Report what does not hold together."""
        self._learn_before(at.offset)
        super().malformed(rule, at, length, what)

    def rest(self, at: Located, label: str) -> None:
        """Have what follows looked at, in which nothing is known."""
        self._learn_before(at.offset)
        super().rest(at, label)

    def _learn_before(self, offset: int) -> None:
        self.good_until = min(self.good_until, offset)

    # Known runs ------------------------------------------------------------------------------------------------------

    def take(self, run: Run, offset: int, values: tuple[bytes, ...]) -> bool:
        """Do what ``value`` does with each of ``values``; False, and nothing is done, if they have to be walked."""
        if self._looks + run.binaries > self._limits.min_looks:
            return False
        fresh = list(compress(count(), map(ne, values, run.clean)))
        if any(values[number][:4] in _ITEMS and run.leaves[number].at.vr == b"UN" for number in fresh):
            return False
        for number, tag in run.kept:
            self.kept.setdefault(tag, values[number])
        taken = _Taken(run, offset, values)
        self._taken.append(taken)
        for number in fresh:
            run.forget(number)
        self._looks += sum(run.looks)
        for number in fresh:
            self._judge_fresh(taken, number)
        return True

    def _judge_fresh(self, taken: _Taken, number: int) -> None:
        at, value = taken.at(number), taken.values[number]
        said, looks = self._verdict.said, self._looks
        super().value(at, value, 0, len(value))
        if at.vr in TEXT_VRS:
            self._waiting.append((taken, number))
        elif self._verdict.said == said:
            taken.run.clean[number], taken.run.looks[number] = value, self._looks - looks

    def end_of_buffer(self) -> None:
        """Look at the texts, those of known runs as if each had been walked."""
        taken, self._taken = self._taken, []
        known = sum([sum(each.run.text_looks) for each in taken])
        if self._text_looks + known + 2 * len(self._texts) > self._limits.min_looks:
            # Which of them are looked at depends on their order.
            self._waiting.clear()
            texts = [text for each in taken for text in each.clean_texts()]
            self._texts = sorted([*self._texts, *texts], key=lambda text: text[0].offset)
        else:
            self._text_looks += known
        super().end_of_buffer()
        for each, number in self._waiting:
            looks = self._looked.get(each.at(number).offset, 0)
            if looks >= 0:
                each.run.clean[number], each.run.text_looks[number] = each.values[number], looks
        self._waiting.clear()
        self._looked.clear()

    def _judge_text(self, at: Located, value: bytes, *, is_odd: bool) -> None:
        said, looks, text_looks = self._verdict.said, self._looks, self._text_looks
        super()._judge_text(at, value, is_odd=is_odd)
        is_clean = self._verdict.said == said and self._looks == looks
        self._looked[at.offset] = self._text_looks - text_looks if is_clean else -1


class RememberingWalker(Walker):
    """Takes known runs of a header at one go, and has those learnt that are not known yet. Not thread-safe."""

    def __init__(
        self, judge: RememberingJudge, limits: ScreenLimits, syntax: TransferSyntax, memory: ScreenMemory
    ) -> None:
        super().__init__(judge, limits, syntax)
        self._judge = judge
        self._memory = memory
        self._of_sender = memory.of(syntax, limits)
        self._runs = self._of_sender.runs
        self._taken: list[tuple[int, Run]] = []
        """Runs whose places are not in ``_known`` yet."""

    def walk(self, data: bytes, base: int) -> None:
        """Walk as far as ``data`` goes. What is in the first block is learnt; of longer headers nothing more is."""
        super().walk(data, base)
        if base == 0:
            judge, begins = self._judge, [offset for offset, _ in self._taken]
            self._memory.learn(self._of_sender, data, Walked(self._known, judge.leaves, begins, judge.good_until))
            self._runs = {}

    def _behind_runs(self, frame: Frame, data: bytes, position: int) -> int:
        known = self._of_sender
        while (run := known.runs.get(data[position : position + KEY_BYTES])) is not None:
            if run.first_tag <= frame.previous or not self._has_room(run, len(data) - position):
                break
            if run.read_gaps(data, position) != run.gaps:
                if not self._memory.cut(known, run, data, position):
                    break
            elif self._judge.take(run, position, run.read_values(data, position)):
                self.elements += len(run.places)
                self.items += run.items
                self._taken.append((position, run))
                frame.previous = run.last_tag
                position += run.size_bytes
            else:
                break
        return position

    def _has_room(self, run: Run, left: int) -> bool:
        most = self._limits.max_elements
        return run.size_bytes <= left and self.elements + len(run.places) <= most and self.items + run.items <= most

    def locate(self, offset: int) -> Located:
        """Return in what the byte at ``offset`` is, as far as it is still remembered."""
        if self._taken:
            taken = [place._replace(offset=place.offset + at) for at, run in self._taken for place in run.places]
            self._known = sorted([*taken, *self._known], key=lambda place: place.offset)
            self._taken.clear()
        return super().locate(offset)
