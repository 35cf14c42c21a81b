"""Released or destroyed by two different people, and by nobody else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.archives import opened, trail_events
from harness.ingesting import LARGE_PIXELS, Sample, store, stored_digest, visible_sop_uids
from harness.quarantines import HELD_SENDER, PASSCODE, add_officers, hold
from strongroom.admin import two_people, users
from strongroom.admin.check import check
from strongroom.admin.deletion import delete_study
from strongroom.admin.exporting import export_study
from strongroom.admin.keys import rotate, status
from strongroom.admin.quarantine import Done, Step, destroy, explained, release
from strongroom.admin.recovery import recover
from strongroom.admin.two_people import Order, decide, verified
from strongroom.app import PUBLIC_KEY_NAME, Archive, next_object_id, signer_name
from strongroom.archive.ingest import Verdict
from strongroom.archive.model import Action, Event, Outcome
from strongroom.archive.roles import Role
from strongroom.errors import Denied, IntegrityError, NotFound, Refused, StorageUnavailable
from strongroom.screen.rules import RULES
from strongroom.store.blobs import SealedBlobStore
from strongroom.store.quarantine import Request, What
from strongroom.trail.log import TrailLog
from strongroom.trail.note import Verifier
from strongroom.trail.receipt import Trust, check_receipt, parse_receipt

SMALL, LARGE = Sample(1, study=1), Sample(2, study=1, pixel_bytes=LARGE_PIXELS)
DAY_US = 86_400_000_000
ACTS: dict[What, Callable[[Archive, Order], Done]] = {What.RELEASE: release, What.DESTROY: destroy}
BOTH = pytest.mark.parametrize("what", list(What))
SIZES = pytest.mark.parametrize("sample", [SMALL, LARGE], ids=["row", "file"])


@pytest.fixture
def archive(archive_home) -> Iterator[Archive]:
    with opened(archive_home()) as found:
        add_officers(found, "ann", "bob")
        yield found


def act(archive: Archive, what: What, user: str, number: int = 1, now_us: int = 10 * DAY_US) -> Done:
    return ACTS[what](archive, Order(what, number, user, f"{user} says so", now_us))


def done_by_two(archive: Archive, what: What, number: int = 1) -> Done:
    assert act(archive, what, "ann", number).step is Step.ASKED
    return act(archive, what, "bob", number)


def quarantine_events(archive: Archive) -> list[Event]:
    return [event for event in trail_events(archive) if event.action is Action.QUARANTINE]


def refusals(archive: Archive) -> list[object]:
    events = quarantine_events(archive)
    return [event.details.get("reason") for event in events if event.outcome is Outcome.REFUSED]


def held_numbers(archive: Archive) -> list[int]:
    return [entry.number for entry in archive.quarantine.entries()]


def is_clean(archive: Archive) -> bool:
    return check(archive, lambda *_: None).findings == ()


def as_it_was(archive: Archive) -> bool:
    """One object is held, nothing is stored, and all is well."""
    return held_numbers(archive) == [1] and visible_sop_uids(archive) == set() and is_clean(archive)


# -- released


@SIZES
def test_released_by_two_it_is_stored_as_it_came_and_no_longer_held(archive: Archive, sample: Sample) -> None:
    hold(archive, sample)
    assert as_it_was(archive)
    done = done_by_two(archive, What.RELEASE)
    assert (done.step, done.id, done.asked_by, done.verdict) == (Step.RELEASED, "Q1", "ann", Verdict.STORED)
    assert done.problems == ()
    assert held_numbers(archive) == []
    assert visible_sop_uids(archive) == {sample.sop_uid}
    assert stored_digest(archive, sample.sop_uid) == sample.sha256
    stored = archive.index.find_object(sample.sop_uid)
    assert stored is not None
    key = archive.index.study_key(sample.study_uid)
    assert key is not None
    assert stored.key.key_id == key.key_id
    files = {object_id for object_id, _ in archive.blobs.ids()}
    assert files == (set() if stored.small_row else {stored.object_id})
    assert is_clean(archive)


def test_the_trail_names_both_people_the_sender_and_why(archive: Archive) -> None:
    hold(archive, SMALL)
    done_by_two(archive, What.RELEASE)
    _, asked, released = quarantine_events(archive)
    assert asked.outcome is released.outcome is Outcome.SUCCESS
    assert asked.details == {
        "what": "ask-release",
        "quarantine": "Q1",
        "user": "ann",
        "because": "ann says so",
    }
    told = dict(released.details)
    assert {name: told[name] for name in ("what", "quarantine", "user", "asked_by")} == {
        "what": "release",
        "quarantine": "Q1",
        "user": "bob",
        "asked_by": "ann",
    }
    assert (told["because"], told["asked_because"]) == ("bob says so", "ann says so")
    assert (told["sender"], told["sender_address"]) == (HELD_SENDER.aet, HELD_SENDER.address)
    assert (told["verdict"], told["sop_uid"], told["study_uid"]) == ("stored", SMALL.sop_uid, SMALL.study_uid)
    assert released.principal == asked.principal
    assert released.principal.address == "local"
    assert "Doe" not in repr(quarantine_events(archive))


def test_released_into_a_study_it_goes_under_its_key(archive: Archive) -> None:
    neighbour = Sample(9, study=1)
    store(archive, neighbour)
    key = archive.index.study_key(SMALL.study_uid)
    hold(archive, SMALL)
    done_by_two(archive, What.RELEASE)
    stored = archive.index.find_object(SMALL.sop_uid)
    assert stored is not None
    assert key is not None
    assert stored.key.key_id == key.key_id


@SIZES
def test_what_is_stored_already_is_let_go(archive: Archive, sample: Sample) -> None:
    store(archive, sample)
    hold(archive, sample)
    done = done_by_two(archive, What.RELEASE)
    assert (done.step, done.verdict) == (Step.RELEASED, Verdict.RESENT)
    assert held_numbers(archive) == []
    assert stored_digest(archive, sample.sop_uid) == sample.sha256
    assert is_clean(archive)


def test_a_lost_object_is_restored_from_the_held_copy(archive: Archive) -> None:
    store(archive, LARGE)
    hold(archive, LARGE)
    stored = archive.index.find_object(LARGE.sop_uid)
    assert stored is not None
    archive.blobs.delete(stored.object_id)
    assert done_by_two(archive, What.RELEASE).verdict == Verdict.RESTORED
    assert stored_digest(archive, LARGE.sop_uid) == LARGE.sha256
    assert held_numbers(archive) == []
    assert is_clean(archive)


@pytest.mark.parametrize(
    ("first", "word", "said"),
    [
        (Sample(1, study=1, pixel_bytes=602), "sop-instance-altered", "other pixels"),
        (Sample(3, study=1, patient_id="SOMEBODY"), "study-of-another-patient", "under another patient"),
        (Sample(1, study=1, patient_name="Roe^Jane"), "coerced", "stored already, with other words"),
    ],
    ids=["altered", "patient", "coerced"],
)
def test_what_does_not_go_with_what_is_stored_stays_held_and_says_why(
    archive: Archive, first: Sample, word: str, said: str
) -> None:
    store(archive, first)
    hold(archive, SMALL)
    before = visible_sop_uids(archive)
    with pytest.raises(Refused, match=said) as caught:
        done_by_two(archive, What.RELEASE)
    assert caught.value.reason == word
    assert "Doe" not in str(caught.value)
    assert held_numbers(archive) == [1]
    assert visible_sop_uids(archive) == before
    assert stored_digest(archive, first.sop_uid) == first.sha256
    refused = [event for event in quarantine_events(archive) if event.outcome is Outcome.REFUSED]
    assert len(refused) == 1
    assert refused[0].details["quarantine"] == "Q1"
    assert refused[0].details["user"] == "bob"
    assert is_clean(archive)
    # Once the study is gone there is no conflict any more, and the request still stands.
    delete_study(archive, first.study_uid, "the wrong one", lambda *_: None)
    assert act(archive, What.RELEASE, "bob").step is Step.RELEASED
    assert stored_digest(archive, SMALL.sop_uid) == SMALL.sha256


def test_sealed_bytes_that_were_changed_are_not_released(archive: Archive) -> None:
    hold(archive, LARGE)
    (path,) = [path for path in archive.home.objects.rglob("*") if path.is_file()]
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(IntegrityError):
        done_by_two(archive, What.RELEASE)
    assert held_numbers(archive) == [1]
    assert visible_sop_uids(archive) == set()
    assert refusals(archive) == ["IntegrityError"]


# -- destroyed


@SIZES
def test_destroyed_by_two_nothing_opens_it_any_more(archive: Archive, sample: Sample, tmp_path: Path) -> None:
    hold(archive, sample)
    entry = archive.quarantine.find(1)
    with archive.index.database.read() as cursor:
        key_id, wrapped, master_id = cursor.execute("SELECT key_id, wrapped, master_id FROM held_key").fetchone()
    copied = SealedBlobStore(shutil.copytree(archive.home.objects, tmp_path / "copied"))
    done = done_by_two(archive, What.DESTROY)
    assert (done.step, done.asked_by, done.problems) == (Step.DESTROYED, "ann", ())
    assert any("backups" in note for note in done.notes)
    assert held_numbers(archive) == []
    assert list(archive.blobs.ids()) == []
    for path in archive.home.data.rglob("*"):
        if path.is_file():
            assert bytes(wrapped) not in path.read_bytes(), path
    assert bytes(key_id) not in archive.ring._data_keys
    with archive.index.database.read() as cursor:
        assert cursor.execute("SELECT held, wrapped FROM held_key").fetchall() == [(None, bytes(60))]
    with pytest.raises(IntegrityError):
        archive.ring.unwrap(bytes(key_id), bytes(60), master_id)
    if not entry.is_small:
        with pytest.raises(IntegrityError):
            copied.open(entry.object_id, bytes(32)).read(0, 1)
    assert is_clean(archive)


def test_the_receipt_is_proof_without_the_archive(archive: Archive) -> None:
    hold(archive, SMALL)
    proof = done_by_two(archive, What.DESTROY).proof
    assert proof is not None
    assert proof.receipt is not None
    pem = (archive.home.root / PUBLIC_KEY_NAME).read_bytes()
    config = archive.config
    trust = Trust(config.archive.id, (Verifier.from_pem(signer_name(config), pem),))
    record, findings = check_receipt(parse_receipt(proof.receipt), trust)
    assert findings == []
    assert record is not None
    told = record.event.details
    assert (told["what"], told["quarantine"], told["user"], told["asked_by"]) == ("destroy", "Q1", "bob", "ann")
    assert (told["sop_uid"], told["sha256"]) == (SMALL.sop_uid, SMALL.sha256.hex())
    assert len(told["destroyed_keys"]) == 1  # type: ignore[arg-type]


def test_sent_again_after_its_destruction_it_is_held_under_another_id(archive: Archive) -> None:
    hold(archive, SMALL)
    done_by_two(archive, What.DESTROY)
    assert hold(archive, SMALL) == "Q2"
    assert is_clean(archive)


def test_a_file_that_cannot_be_removed_is_a_problem_and_nothing_more(archive: Archive, monkeypatch) -> None:
    hold(archive, LARGE)

    def fail(object_id: bytes) -> None:
        raise StorageUnavailable("EIO")

    with monkeypatch.context() as patch:
        patch.setattr(archive.blobs, "delete", fail)
        done = done_by_two(archive, What.DESTROY)
    assert [problem.partition(":")[0] for problem in done.problems] == ["the sealed file is still there"]
    archive.close()
    with opened(archive.home) as again:
        assert recover(again).removed == 1
        assert is_clean(again)


# -- by two different people


@BOTH
def test_the_same_person_twice_is_refused_however_the_name_is_written(archive: Archive, what: What) -> None:
    add_officers(archive, "ANN")
    hold(archive, SMALL)
    assert act(archive, what, "ann").step is Step.ASKED
    for name in ("ann", "ann", "ANN"):
        with pytest.raises(Denied, match="same-person"):
            act(archive, what, name)
    assert refusals(archive) == ["same-person"] * 3
    assert as_it_was(archive)
    assert act(archive, what, "bob").step in (Step.RELEASED, Step.DESTROYED)


def test_to_ask_for_one_thing_is_not_to_agree_to_the_other(archive: Archive) -> None:
    hold(archive, SMALL)
    assert act(archive, What.RELEASE, "ann").step is Step.ASKED
    assert act(archive, What.DESTROY, "bob").step is Step.ASKED
    assert as_it_was(archive)
    assert {(each.what, each.user) for each in archive.quarantine.find(1).requests} == {
        (What.RELEASE, "ann"),
        (What.DESTROY, "bob"),
    }
    assert act(archive, What.DESTROY, "ann").step is Step.DESTROYED


def test_a_request_is_about_one_object(archive: Archive) -> None:
    hold(archive, SMALL)
    hold(archive, LARGE)
    assert act(archive, What.DESTROY, "ann", 1).step is Step.ASKED
    assert act(archive, What.DESTROY, "bob", 2).step is Step.ASKED
    assert held_numbers(archive) == [1, 2]


@BOTH
@pytest.mark.parametrize("later_us", [7 * DAY_US + 1, 400 * DAY_US, -1])
def test_a_request_lapses_and_the_second_person_begins_anew(archive: Archive, what: What, later_us: int) -> None:
    hold(archive, SMALL)
    first = act(archive, what, "ann")
    assert first.lapses_us == 17 * DAY_US
    assert act(archive, what, "bob", now_us=10 * DAY_US + later_us).step is Step.ASKED
    assert as_it_was(archive)
    assert [request.user for request in archive.quarantine.find(1).requests] == ["bob"]


@BOTH
def test_until_it_lapses_it_stands(archive: Archive, what: What) -> None:
    hold(archive, SMALL)
    act(archive, what, "ann")
    assert act(archive, what, "bob", now_us=17 * DAY_US).step is not Step.ASKED


def test_request_days_says_when(archive_home) -> None:
    with opened(archive_home(screening={"request_days": 2})) as archive:
        add_officers(archive, "ann", "bob")
        hold(archive, SMALL)
        assert act(archive, What.RELEASE, "ann").lapses_us == 12 * DAY_US
        assert act(archive, What.RELEASE, "bob", now_us=12 * DAY_US + 1).step is Step.ASKED


@BOTH
def test_a_request_of_somebody_who_may_no_longer_is_none(archive: Archive, what: What) -> None:
    hold(archive, SMALL)
    act(archive, what, "ann")
    users.disable(archive, "ann")
    assert act(archive, what, "bob").step is Step.ASKED
    users.add(archive, "bob", PASSCODE, Role.PHYSICIAN)
    add_officers(archive, "cid")
    assert act(archive, what, "cid").step is Step.ASKED
    assert as_it_was(archive)


@BOTH
@pytest.mark.parametrize("when", ["disabled", "viewer", "unknown"])
def test_who_may_not_can_neither_ask_nor_agree(archive: Archive, what: What, when: str) -> None:
    """Also where the account was changed after its passcode was looked at."""
    hold(archive, SMALL)
    if when == "disabled":
        users.disable(archive, "bob")
    elif when == "viewer":
        users.add(archive, "bob", PASSCODE, Role.VIEWER)
    name, word = (
        ("bob", {"disabled": "user-disabled", "viewer": "role-may-not"}[when])
        if when != "unknown"
        else (
            "nobody",
            "user-unknown",
        )
    )
    with pytest.raises(Denied, match=word):
        act(archive, what, name)
    act(archive, what, "ann")
    with pytest.raises(Denied, match=word):
        act(archive, what, name)
    assert refusals(archive) == [word, word]
    assert as_it_was(archive)


@pytest.mark.parametrize("what", list(What))
def test_somebody_else_was_faster(archive: Archive, monkeypatch, what: What) -> None:
    """Between the look at the request and the act, another process carries it out."""
    add_officers(archive, "cid")
    hold(archive, SMALL)
    act(archive, what, "ann")
    real = two_people.TwoPeople.ask

    def ask(people: two_people.TwoPeople) -> bool:
        result = real(people)
        if people.order.user == "bob":
            with opened(archive.home) as other:
                assert act(other, What.DESTROY, "cid").step is Step.ASKED or what is What.DESTROY
                if what is What.RELEASE:
                    assert act(other, What.DESTROY, "ann").step is Step.DESTROYED
        return result

    monkeypatch.setattr(two_people.TwoPeople, "ask", ask)
    with pytest.raises(NotFound):
        act(archive, what, "bob")
    assert held_numbers(archive) == []
    assert visible_sop_uids(archive) == set()
    assert is_clean(archive)


@BOTH
@pytest.mark.parametrize("number", [2, 99, 10**15])
def test_what_is_not_held_is_not_found_and_that_is_recorded(archive: Archive, what: What, number: int) -> None:
    hold(archive, SMALL)
    with pytest.raises(NotFound):
        act(archive, what, "ann", number)
    (refused,) = [event for event in quarantine_events(archive) if event.outcome is Outcome.REFUSED]
    assert refused.details["quarantine"] == f"Q{number}"
    assert as_it_was(archive)


@pytest.mark.parametrize(
    ("name", "passcode", "word"),
    [
        ("ann", "a wrong passcode", "user-or-passcode-wrong"),
        ("nobody", PASSCODE, "user-or-passcode-wrong"),
        ("", "", "user-or-passcode-wrong"),
        ("dan", PASSCODE, "role-may-not"),
        ("eve", PASSCODE, "user-or-passcode-wrong"),
    ],
)
def test_who_is_not_verified_is_refused_and_recorded(archive: Archive, name: str, passcode: str, word: str) -> None:
    users.add(archive, "dan", PASSCODE, Role.PHYSICIAN)
    users.add(archive, "eve", PASSCODE, Role.ADMINISTRATOR)
    users.disable(archive, "eve")
    with pytest.raises(Denied, match=word):
        verified(archive, name, passcode)
    (event,) = quarantine_events(archive)
    assert (event.outcome, event.details) == (Outcome.REFUSED, {"user": name, "reason": word})


@pytest.mark.parametrize("role", list(Role))
def test_administrators_and_security_officers_may(archive: Archive, role: Role) -> None:
    users.add(archive, "fay", PASSCODE, role)
    if role in (Role.ADMINISTRATOR, Role.SECURITY_OFFICER):
        assert verified(archive, "fay", PASSCODE) == "fay"
    else:
        with pytest.raises(Denied, match="role-may-not"):
            verified(archive, "fay", PASSCODE)


def test_the_decision_by_itself() -> None:
    order = Order(What.RELEASE, 1, "bob", "", 0)
    mine, other = Request(What.RELEASE, "Bob", "", 0), Request(What.RELEASE, "ann", "", 0)
    elsewhere = Request(What.DESTROY, "ann", "", 0)
    assert decide((), order, lambda _: True) is None
    assert decide((elsewhere,), order, lambda _: True) is None
    assert decide((elsewhere, other), order, lambda _: True) is other
    assert decide((mine,), order, lambda _: False) is None
    with pytest.raises(Denied):
        decide((mine,), order, lambda _: True)


# -- killed between steps


class Killed(BaseException):
    """The process is gone: nothing that comes after runs."""


def die(*_: object, **__: object) -> None:
    raise Killed


def _after_the_death(archive: Archive) -> Archive:
    """What the next start of the archive finds."""
    archive.index.database._failed = True  # nothing more is written by the process that is gone
    archive.close()
    return Archive(archive.home, "serve")


@BOTH
@SIZES
def test_killed_within_its_transaction_nothing_happened(
    archive: Archive, monkeypatch, what: What, sample: Sample
) -> None:
    hold(archive, sample)
    act(archive, what, "ann")
    with monkeypatch.context() as patch:
        patch.setattr(TrailLog, "append", die)
        with pytest.raises(Killed):
            act(archive, what, "bob")
    again = _after_the_death(archive)
    try:
        recover(again)
        again.writers.release()
        assert as_it_was(again)
        assert act(again, what, "bob").step is not Step.ASKED
        assert is_clean(again)
    finally:
        again.close()


@BOTH
@SIZES
def test_killed_after_its_transaction_it_is_done_and_the_next_start_ends_it(
    archive: Archive, monkeypatch, what: What, sample: Sample
) -> None:
    recover(archive)
    hold(archive, sample)
    act(archive, what, "ann")
    with monkeypatch.context() as patch:
        patch.setattr(two_people.TwoPeople, "remove_file", die)
        with pytest.raises(Killed):
            act(archive, what, "bob")
    again = _after_the_death(archive)
    try:
        recovered = recover(again)
        again.writers.release()
        assert recovered.removed == (0 if sample is SMALL else 1)
        assert held_numbers(again) == []
        released = {sample.sop_uid} if what is What.RELEASE else set()
        assert visible_sop_uids(again) == released
        for sop_uid in released:
            assert stored_digest(again, sop_uid) == sample.sha256
        assert is_clean(again)
    finally:
        again.close()


# -- nothing else breaks


def test_a_start_removes_no_file_of_a_held_object(archive: Archive) -> None:
    hold(archive, LARGE)
    assert recover(archive, everything=True).removed == 0
    assert as_it_was(archive)


@SIZES
def test_an_index_that_only_holds_is_not_a_new_one(archive: Archive, sample: Sample) -> None:
    hold(archive, sample)
    writer = archive.blobs.create(next_object_id(), bytes(32))
    writer.write(bytes(LARGE_PIXELS))
    writer.commit()
    recovered = recover(archive)
    assert (recovered.removed, recovered.postponed) == (1, "")


def test_a_rotation_wraps_held_keys_and_the_status_counts_them(archive: Archive) -> None:
    store(archive, Sample(9, study=2))
    hold(archive, SMALL)
    hold(archive, LARGE)
    rotation = rotate(archive, "", lambda *_: None)
    assert (rotation.data_keys, rotation.unopened) == (3, ())
    assert [key.data_keys for key in status(archive.home).keys if key.active] == [3]
    archive.close()
    with opened(archive.home) as again:
        assert done_by_two(again, What.RELEASE, 2).step is Step.RELEASED
        assert is_clean(again)


def test_deleting_its_study_leaves_what_is_held_and_says_so(archive: Archive) -> None:
    store(archive, Sample(9, study=1))
    hold(archive, SMALL)
    deletion = delete_study(archive, SMALL.study_uid, "asked for", lambda *_: None)
    assert any("1 of its objects are in quarantine" in note for note in deletion.notes)
    assert as_it_was(archive)


def test_an_export_has_nothing_of_what_is_held(archive: Archive, tmp_path: Path) -> None:
    store(archive, Sample(9, study=1))
    hold(archive, SMALL)
    assert export_study(archive, SMALL.study_uid, tmp_path / "out", lambda *_: None).objects == 1


def test_findings_are_explained_by_their_rules(archive: Archive) -> None:
    hold(archive, SMALL)
    (found,) = explained(archive.quarantine.find(1))
    assert (found.rule, found.path, found.offset, found.length) == ("SR-PE-001", "(0042,0011)", 1234, 4096)
    assert (found.severity, found.confidence) == ("critical", "high")
    assert found.what == "PE32+ for x86-64, 3 sections"
    rule = RULES["SR-PE-001"]
    assert (found.title, found.why, found.remedy) == (rule.title, rule.why, rule.remedy)
    # What an engine beside ours has found says for itself what it is.
    raw = b'[{"rule":"YARA-MINE","severity":"high","title":"Mine","why":"Since.","remedy":"Ask.","offset":null}]'
    (other,) = explained(replace(archive.quarantine.find(1), findings=raw))
    assert (other.title, other.why, other.remedy, other.offset) == ("Mine", "Since.", "Ask.", 0)
    assert explained(replace(archive.quarantine.find(1), findings=b"[]")) == []


@pytest.mark.interop
def test_on_postgresql_everything_goes_the_same_way(archive_home, new_postgres_url) -> None:
    with opened(archive_home(index={"url": new_postgres_url()})) as archive:
        add_officers(archive, "ann", "bob")
        hold(archive, SMALL)
        hold(archive, LARGE)
        assert hold(archive, LARGE) == "Q2"
        act(archive, What.RELEASE, "ann", 2)
        with pytest.raises(Denied, match="same-person"):
            act(archive, What.RELEASE, "ann", 2)
        assert recover(archive, everything=True).removed == 0
        archive.writers.release()
        assert is_clean(archive)
        assert rotate(archive, "", lambda *_: None).data_keys == 2
        assert act(archive, What.RELEASE, "bob", 2).step is Step.RELEASED
        done = done_by_two(archive, What.DESTROY, 1)
        assert done.problems == ()
        assert any("PostgreSQL" in note for note in done.notes)
        assert visible_sop_uids(archive) == {LARGE.sop_uid}
        assert stored_digest(archive, LARGE.sop_uid) == LARGE.sha256
        assert is_clean(archive)
