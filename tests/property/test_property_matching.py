"""Matching agrees with an oracle written another way; the index's conditions never lose an answer."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.archive import keys
from strongroom.archive.answers import AboutArchive, answer
from strongroom.archive.constraint import Key, QueryLimits, parse_match
from strongroom.archive.keys import Column
from strongroom.archive.matching import matches
from strongroom.archive.model import Level
from strongroom.archive.prefilter import LIKE_ESCAPE, Between, Condition, Equal, In, Like, Prefix, sql_conditions
from strongroom.archive.query import ExtendedNegotiation, IdentifierElement, Model, Query, identifier_from_json
from strongroom.archive.values import fold

EXAMPLES = settings(max_examples=150, deadline=None)
FIXED = {Level.PATIENT: 0x00100020, Level.STUDY: 0x0020000D, Level.SERIES: 0x0020000E, Level.IMAGE: 0x00080018}

# Small alphabets and lengths, so that keys and values meet often.
texts = st.text("aAbé%_!\\ \0", max_size=4)
patterns = st.text("aAbé%_!*? ", max_size=6)
groups = st.text("aAbéßＡ山-^ ", max_size=7)
name_patterns = st.text("aAbéß山-^*? ", max_size=7)
names = st.lists(groups, min_size=1, max_size=3).map("=".join)
name_keys = st.lists(st.one_of(groups, name_patterns), min_size=1, max_size=3).map("=".join)
uids = st.sampled_from(["1.2", "1.2.3", "1.20", "2.5"])
numbers = st.sampled_from(["1", "01", "1.0", "+1", "2", "-1", "1e0", "12"])
days = st.sampled_from(["20231231", "20240101", "20240102", "20240229", "20240301"])
times = st.sampled_from(["00", "0000", "10", "1030", "10:30:15", "103015.5", "235960", "235959.999999", "22"])
date_times = st.builds(
    lambda text, zone: text + zone,
    st.sampled_from(["2024", "202401", "20240101", "2024010110", "20240101103015", "20240101103015.25", "20231231"]),
    st.sampled_from(["", "", "+0000", "+0130", "-1100"]),
)


def ranges(ends: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        ends,
        st.builds("{}-{}".format, ends, ends),
        ends.map("-{}".format),
        ends.map("{}-".format),
    )


# --- the oracle: a nondeterministic automaton, sets and datetimes instead of expressions and canonical text ---


def star_match(pattern: list[str], text: str, any_run: str = "*", one: str = "?", gap: str = "") -> bool:
    """Run ``pattern`` over ``text`` keeping all states; ``gap`` stands for a run without carets."""
    states = {0}
    for character in (*text, None):
        closed: set[int] = set()
        for state in states:
            closed.add(state)
            while state < len(pattern) and pattern[state] in (any_run, gap):
                state += 1
                closed.add(state)
        if character is None:
            return len(pattern) in closed
        states = set()
        for state in closed:
            token = pattern[state] if state < len(pattern) else None
            if token == any_run or (token == gap and character != "^"):
                states.add(state)
            elif token == character or (token == one and not (gap and character == "^")):
                states.add(state + 1)
    raise AssertionError("unreachable")


def oracle_text(key: str, value: str) -> bool:
    value, key = (text.replace("\0", "").strip(" ") for text in (value, key))
    if "*" in key or "?" in key:
        return star_match(list(key), value)
    return key == value


def components(group: str) -> list[str]:
    parts = [component.strip(" ") for component in group.split("^")]
    while parts and not parts[-1]:
        parts.pop()
    return parts


def oracle_group(key: str, stored: str) -> bool:
    wanted, found = components(key), components(stored)
    while wanted and wanted[-1] in ("", "*") and (len(wanted) > 1 or wanted[-1] == ""):
        wanted.pop()
    if not found:
        return False
    if not any("*" in each or "?" in each for each in wanted):
        found = found + [""] * (len(wanted) - len(found))
        return all(part in ("", found[i]) for i, part in enumerate(wanted))
    tokens: list[str] = []
    for i, part in enumerate(wanted):
        tokens += ["^"] if i else []
        tokens += list(part) or ["GAP"]
    return star_match([*tokens, "^", "*"], "^".join(found) + "^", gap="GAP")


def free(key_group: str) -> bool:
    return not "".join(components(key_group)).replace("*", "")


def oracle_name(key: str, value: str) -> bool:
    wanted, stored = fold(key.strip(" ")).split("="), fold(value.strip(" ")).split("=")
    wanted = ["" if free(group) else group for group in wanted]
    while len(wanted) > 1 and not wanted[-1]:
        wanted.pop()
    if len(wanted) == 1:
        literal = wanted[0].replace("*", "").replace("?", "").replace("^", "").replace(" ", "").replace("-", "")
        if literal and wanted[0].isascii():
            stored = stored[:1]
        return any(oracle_group(wanted[0], group) for group in stored)
    stored += [""] * (len(wanted) - len(stored))
    return all(not group or oracle_group(group, found) for group, found in zip(wanted, stored, strict=False))


def moment(text: str, zone: timedelta | None, *, last: bool) -> datetime:
    """Return the first or last microsecond of a DT in UTC, or as written if ``zone`` is None."""
    digits, _, fraction = text.partition(".")
    steps = {4: 366, 6: 31, 8: 1}
    base = digits.ljust(8, "0") if len(digits) < 8 else digits
    year, month, day = int(base[:4]), int(base[4:6]) or 1, int(base[6:8]) or 1
    hours, minutes, seconds = [int(base[i : i + 2] or 0) for i in (8, 10, 12)]
    start = datetime(year, month, day, tzinfo=UTC)  # stands for any zone: the offset is taken off at the end
    start += timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=int(fraction.ljust(6, "0")))
    if last:
        if fraction:
            start += timedelta(microseconds=10 ** (6 - len(fraction)) - 1)
        elif len(digits) in steps:
            end = start + timedelta(days=steps[len(digits)])
            end = end.replace(day=1) if len(digits) < 8 else end
            end = end.replace(month=1) if len(digits) == 4 else end
            start = end - timedelta(microseconds=1)
        else:
            span = {10: timedelta(hours=1), 12: timedelta(minutes=1), 14: timedelta(seconds=1)}[len(digits)]
            start += span - timedelta(microseconds=1)
    return start - zone if zone is not None else start


def split_zone(text: str) -> tuple[str, timedelta | None]:
    if len(text) > 5 and text[-5] in "+-":
        shift = timedelta(hours=int(text[-4:-2]), minutes=int(text[-2:]))
        return text[:-5], -shift if text[-5] == "-" else shift
    return text, None


def oracle_date_time(lo: str | None, hi: str | None, value: str) -> bool:
    stored, stored_zone = split_zone(value)
    for end, last in ((lo, False), (hi, True)):
        if end is None:
            continue
        text, zone = split_zone(end)
        both = zone is not None and stored_zone is not None
        bound = moment(text, zone if both else None, last=last)
        at = moment(stored, stored_zone if both else None, last=False)
        if (at > bound) if last else (at < bound):
            return False
    return True


def seconds(text: str, *, last: bool) -> float:
    digits, _, fraction = text.replace(":", "").partition(".")
    parts = [int(digits[i : i + 2]) if digits[i : i + 2] else (59 if last else 0) for i in (0, 2, 4)]
    part = float(f"0.{fraction.ljust(6, '9' if last else '0')}")
    return parts[0] * 10_000 + parts[1] * 100 + parts[2] + part


# --- one key against the oracle ---


def found(tag: int, vr: str, texts: list[str], values: list[Any]) -> bool:
    match = parse_match(tag, vr, texts, QueryLimits())
    query = Query(Level.IMAGE, Model.STUDY_ROOT, (Key(tag, vr, match),) if match else ())
    return matches(query, {f"{tag:08X}": {"vr": vr, "Value": values}})


@EXAMPLES
@given(key=st.one_of(texts, patterns), value=texts)
def test_text_matches_as_the_oracle_says(key: str, value: str) -> None:
    universal = not key.strip(" \0") or not key.strip(" \0").strip("*")
    assert found(0x00081030, "LO", [key], [value]) == (universal or oracle_text(key, value))


@settings(EXAMPLES, max_examples=500)
@given(key=name_keys, value=names)
def test_names_match_as_the_oracle_says(key: str, value: str) -> None:
    universal = all(free(group) for group in fold(key).split("="))
    assert found(0x00100010, "PN", [key], [value]) == (universal or oracle_name(key, value))


@EXAMPLES
@given(lists=st.lists(uids, max_size=3), values=st.lists(uids, max_size=3))
def test_uid_lists_are_set_intersections(lists: list[str], values: list[str]) -> None:
    assert found(0x00080062, "UI", ["\\".join(lists)], [*values]) == (not lists or bool({*lists} & {*values}))


@EXAMPLES
@given(key=numbers, values=st.lists(st.one_of(numbers, st.integers(-2, 2), st.sampled_from([1.0, 1.5])), max_size=3))
def test_numbers_match_by_value(key: str, values: list[Any]) -> None:
    assert found(0x00201070, "IS", [key], values) == (float(key) in map(float, values))


@EXAMPLES
@given(lo=st.none() | days, hi=st.none() | days, value=days)
def test_date_ranges_are_intervals(lo: str | None, hi: str | None, value: str) -> None:
    if lo or hi:
        inside = (lo is None or int(lo) <= int(value)) and (hi is None or int(value) <= int(hi))
        assert found(0x00080022, "DA", [f"{lo or ''}-{hi or ''}"], [value]) == inside


@EXAMPLES
@given(lo=st.none() | times, hi=st.none() | times, value=times)
def test_time_ranges_are_intervals(lo: str | None, hi: str | None, value: str) -> None:
    if lo or hi:
        at = seconds(value, last=False)
        inside = (lo is None or seconds(lo, last=False) <= at) and (hi is None or at <= seconds(hi, last=True))
        assert found(0x00080032, "TM", [f"{lo or ''}-{hi or ''}"], [value]) == inside


@EXAMPLES
@given(lo=st.none() | date_times, hi=st.none() | date_times, value=date_times)
def test_date_time_ranges_are_intervals(lo: str | None, hi: str | None, value: str) -> None:
    if lo or hi:
        inside = oracle_date_time(lo, hi, value)
        assert found(0x0008002A, "DT", [f"{lo or ''}-{hi or ''}"], [value]) == inside
    if lo:
        assert found(0x0008002A, "DT", [lo], [value]) == oracle_date_time(lo, lo, value)


# --- whole records ---

SAMPLES: dict[str, st.SearchStrategy[str]] = {
    "PN": names,
    "UI": uids,
    "IS": numbers,
    "DS": numbers,
    "US": st.sampled_from(["1", "2"]),
    "UL": st.sampled_from(["1", "2"]),
    "DA": days,
    "TM": times,
    "DT": date_times,
}
KEYS = {**SAMPLES, "PN": name_keys, "DA": ranges(days), "TM": ranges(times), "DT": ranges(date_times)}
COLUMN_TAGS = sorted(keys.COLUMN_OF)
OTHER_TAGS = [0x00080008, 0x0008002A, 0x00100040, 0x00201041, 0x00204000, 0x00280010, 0x00080032]


def element(tag: int, values: list[Any]) -> dict[str, Any]:
    vr = keys.VR_OF[tag]
    if vr == "PN":
        triples = [[*value.split("="), "", ""][:3] for value in values]
        values = [dict(zip(("Alphabetic", "Ideographic", "Phonetic"), triple, strict=True)) for triple in triples]
    return {"vr": vr, "Value": values}


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    made = {}
    for tag in draw(st.lists(st.sampled_from(COLUMN_TAGS + OTHER_TAGS), unique=True, max_size=14)):
        values = draw(st.lists(SAMPLES.get(keys.VR_OF[tag], texts), max_size=3))
        made[f"{tag:08X}"] = element(tag, values) if values else {"vr": keys.VR_OF[tag]}
    if draw(st.booleans()):
        made["00080201"] = {"vr": "SH", "Value": [draw(st.sampled_from(["+0000", "-1100", "+1400", "x"]))]}
    return made


@st.composite
def near(draw: st.DrawFn, stored: Any) -> str:
    """Return a key that is close to a stored value: itself, or with wildcards, or in another case."""
    text = "=".join(stored.values()).rstrip("=") if isinstance(stored, dict) else str(stored)
    at, width = draw(st.integers(0, len(text))), draw(st.integers(0, 3))
    put = draw(st.sampled_from(["*", "?", "", "^", " ", "=", "*^*"]))
    return draw(st.sampled_from([text, text.swapcase(), text[:at] + put + text[at + width :], text[:at] + "*"]))


@st.composite
def queries_of(draw: st.DrawFn) -> tuple[Query, dict[str, Any]]:
    """Return a record and a query with keys out of thin air and keys near the record's values."""
    record = draw(records())
    asked = {0x00080052: IdentifierElement("CS", ["IMAGE"])}
    for tag in draw(st.lists(st.sampled_from(COLUMN_TAGS + OTHER_TAGS), unique=True, max_size=2)):
        vr = keys.VR_OF[tag]
        several = 1 if vr in ("DA", "TM", "DT") else 2
        one = KEYS.get(vr, st.one_of(texts, patterns))
        asked[tag] = IdentifierElement(vr, draw(st.lists(one, max_size=several)))
    present = [name for name, kept in record.items() if kept.get("Value") and name != "00080201"]
    for name in draw(st.lists(st.sampled_from(present), unique=True, max_size=3)) if present else []:
        vr = record[name]["vr"]
        stored = draw(st.sampled_from(record[name]["Value"]))
        if vr in ("DA", "TM", "DT"):
            shape = draw(st.sampled_from(["{0}", "{0}-", "-{0}", "{0}-{0}"]))
            asked[int(name, 16)] = IdentifierElement(vr, [shape.format(stored)])
        else:
            one = near(stored) if vr not in ("UI", "IS", "DS", "US") else st.just(str(stored))
            asked[int(name, 16)] = IdentifierElement(vr, draw(st.lists(one, min_size=1, max_size=2)))
    if draw(st.booleans()):
        asked[0x00080201] = IdentifierElement("SH", [draw(st.sampled_from(["+0000", "+1400", "-1100"]))])
    negotiated = ExtendedNegotiation(True, *draw(st.tuples(st.booleans(), st.booleans(), st.booleans())))
    return Query.from_identifier(asked, model=Model.STUDY_ROOT, negotiated=negotiated), record


def columns_of(record: dict[str, Any]) -> dict[str, str]:
    row: dict[str, str] = {}
    for level in Level:
        kept = [column.name for column in keys.COLUMNS[level] if not column.maintained]
        row.update(zip(kept, keys.column_values(level, record), strict=True))
    row["modalities"] = keys.modalities_text(record.get("00080061", {}).get("Value", []))
    return row


def sql_of(condition: Condition) -> tuple[str, tuple[str, ...]]:
    column = condition.column.name
    match condition:
        case Equal(_, text):
            return f"{column} = ?", (text,)
        case In(_, values):
            return f"{column} IN ({','.join('?' * len(values))})", values
        case Prefix(_, text):
            return f"{column} >= ? AND {column} < ? || char(1114111)", (text, text)
        case Like(_, likes):
            return " OR ".join([f"{column} LIKE ? ESCAPE '{LIKE_ESCAPE}'"] * len(likes)), likes
        case Between(_, lo, hi):
            return f"{column} BETWEEN ? AND ?", (lo, hi)


def holds(condition: Condition, row: dict[str, str]) -> bool:
    """Evaluate a condition without SQL, LIKE with regard to case as PostgreSQL has it."""
    text = row[condition.column.name]
    match condition:
        case Equal(_, wanted):
            return text == wanted
        case In(_, wanted):
            return text in wanted
        case Prefix(_, head):
            return bool(head) and text.startswith(head)
        case Like(_, likes):
            return any(star_match(list(like_tokens(like)), text, "ANY", "ONE") for like in likes)
        case Between(_, lo, hi):
            return lo <= text <= hi


def like_tokens(like: str) -> Iterator[str]:
    characters = iter(like)
    for character in characters:
        if character == LIKE_ESCAPE:
            yield next(characters)
        else:
            yield {"%": "ANY", "_": "ONE"}.get(character, character)


@pytest.fixture(scope="module")
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    names_of = ", ".join(f"{column.name} TEXT" for columns in keys.COLUMNS.values() for column in columns)
    connection.execute(f"CREATE TABLE record ({names_of})")
    yield connection
    connection.close()


def answers_in(database: sqlite3.Connection, query: Query, row: dict[str, str]) -> bool:
    database.execute("DELETE FROM record")
    database.execute(f"INSERT INTO record ({','.join(row)}) VALUES ({','.join('?' * len(row))})", tuple(row.values()))
    terms: list[str] = ["1"]
    bound: list[str] = []
    for condition in sql_conditions(query).conditions:
        sql, values = sql_of(condition)
        terms.append(f"({sql})")
        bound += values
    return database.execute("SELECT 1 FROM record WHERE " + " AND ".join(terms), bound).fetchone() is not None


@settings(EXAMPLES, max_examples=600)
@given(asked=queries_of())
def test_the_index_never_loses_an_answer(database: sqlite3.Connection, asked: tuple[Query, dict[str, Any]]) -> None:
    query, record = asked
    row = columns_of(record)
    prefilter = sql_conditions(query)
    in_sql = answers_in(database, query, row)
    in_python = all(holds(condition, row) for condition in prefilter.conditions)
    exactly = matches(query, record)
    if exactly:
        assert in_sql
        assert in_python
    if prefilter.exact:
        assert in_sql == in_python == exactly


@EXAMPLES
@given(record=records(), combined=st.booleans(), fuzzy=st.booleans(), ours=st.booleans())
def test_a_record_answers_the_query_for_its_own_values(
    database: sqlite3.Connection, record: dict[str, Any], combined: bool, fuzzy: bool, ours: bool
) -> None:
    first = {
        name: {**kept, "Value": kept["Value"][:1]} if kept.get("Value") else kept
        for name, kept in record.items()
        if not (name == "00080201" and kept["Value"] == ["x"])
    }
    asked = identifier_from_json({**first, "00080052": {"vr": "CS", "Value": ["IMAGE"]}})
    negotiated = ExtendedNegotiation(relational=True, combined_datetime=combined, fuzzy=fuzzy, timezone=ours)
    query = Query.from_identifier(asked, model=Model.STUDY_ROOT, negotiated=negotiated)
    assert matches(query, record)
    assert answers_in(database, query, columns_of(record))


@EXAMPLES
@given(made=queries_of())
def test_an_answer_has_the_keys_asked_for(made: tuple[Query, dict[str, Any]]) -> None:
    query, record = made
    given_keys = answer(query, record, AboutArchive("A"))
    asked = {f"{key.tag:08X}" for key in query.returned}
    assert {*given_keys} - {"00080005"} == asked
    assert list(given_keys) == sorted(given_keys)


@EXAMPLES
@given(text=st.text(max_size=12))
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@EXAMPLES
@given(value=st.one_of(st.text(max_size=8), st.integers(), st.floats(), st.none(), st.binary(max_size=2)))
def test_no_value_breaks_ingest(value: Any) -> None:
    record = {f"{tag:08X}": {"vr": keys.VR_OF[tag], "Value": [value]} for tag in COLUMN_TAGS}
    for level in Level:
        for text in keys.column_values(level, record):
            assert "\0" not in text
            assert len(text.encode()) <= 4 * 512


def test_every_column_is_among_the_tags_tried() -> None:
    assert {column.tag for columns in keys.COLUMNS.values() for column in columns if isinstance(column, Column)} == {
        *COLUMN_TAGS
    }
