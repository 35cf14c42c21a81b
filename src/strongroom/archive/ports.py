"""What the archive needs from the outside, as protocols. Every adapter passes the contract suite of its port."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from strongroom.archive.emergencies import Candidate, LookedAt, Opening
from strongroom.archive.federation import Arrival, Departure, ProviderShown
from strongroom.archive.listing import StudyList, StudyPage
from strongroom.archive.model import Added, Condition, DataKey, Event, Held, NewInstance, SearchRow, StoredObject
from strongroom.archive.people import Entered, Offered, Passkey, Person, Session, SessionShown, Ways, Where
from strongroom.archive.prefilter import Prefilter
from strongroom.archive.proposals import Proposal
from strongroom.archive.query import Query, Retrieval
from strongroom.archive.sharing import MadeShare, NewShare, Share
from strongroom.types import Principal, Scope


class BlobWriter(Protocol):
    """One object on its way in. Not thread-safe: it belongs to the connection that writes it."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Seal and write ``data``; the caller may reuse the buffer afterwards. Raises StorageUnavailable."""

    def commit(self) -> bytes:
        """Make all bytes and the name durable and return b"", or return the whole sealed object if it is small.

        A small object becomes durable with its row in the index. Raises StorageUnavailable.
        """

    def abort(self) -> None:
        """Forget the object and remove what was written. Safe at any time; after ``commit`` it takes it back."""


class BlobReader(Protocol):
    """One sealed object, open for reading. Not thread-safe."""

    size: int
    """Plain size in bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` plain bytes from ``offset``, fewer at the end.

        Raises IntegrityError, StorageUnavailable.
        """

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """Yield the plain bytes from ``offset`` to the end, a segment at a time, each authenticated first."""

    def pieces(self, before: bytes = b"") -> Iterator[memoryview]:
        """Yield ``before`` and all plain bytes, a MiB or so at a time, each in memory of its own, authenticated first:
        for who sends the whole object, and something in front of it."""

    def close(self) -> None:
        """Close the file."""


class BlobStore(Protocol):
    """Sealed objects by id. Thread-safe."""

    def create(self, object_id: bytes, key: bytes) -> BlobWriter:
        """Begin a new object sealed under the 32-byte ``key``. ``object_id`` is 16 bytes and never used twice."""

    def open(self, object_id: bytes, key: bytes) -> BlobReader:
        """Open an object. Raises NotFound if there is none, IntegrityError if its header or size cannot be right."""

    def open_small(self, object_id: bytes, key: bytes, sealed: bytes) -> BlobReader:
        """Open a small object from its sealed bytes. Raises IntegrityError if they cannot be right."""

    def delete(self, object_id: bytes) -> None:
        """Remove an object's bytes durably; does nothing if it is gone already."""

    def ids(self) -> Iterator[tuple[bytes, float]]:
        """Yield every object's id and modification time (seconds since 1970), finished or not, in no order."""

    def foreign(self) -> Iterator[str]:
        """Yield the relative path of everything in the store that is no object."""


class Keys(Protocol):
    """The key ring. Thread-safe."""

    def new_data_key(self) -> DataKey:
        """A fresh data key, wrapped under the active master key."""


class Index(Protocol):
    """What is stored, and the trail of what was done. Thread-safe. All may raise StorageUnavailable."""

    def add(self, new: NewInstance, event: Event) -> Added:
        """Make an instance visible, with its event in the trail and its flag; durable on return.

        Flags what comes late from elsewhere (``Added.UNVERIFIED``), and has the event say so. Flags of which somebody
        is told at once (``door.ALERT_FROM``) are alerts in the same transaction. ``NOT_NEW``, and nothing written, if
        its SOP Instance UID is there already. Raises Refused if its study stands under another patient, or its series
        in another study; where the event's principal has a scope, without a word of what is outside it.
        """

    def restore(self, first: StoredObject, copy: NewInstance, event: Event) -> bool:
        """Let the row of ``first``, whose bytes are lost, point to ``copy``, the same data set; durable on return.

        False, and nothing written, if the row is not as ``first`` says any more.
        """

    def record(self, *events: Event) -> None:
        """Append to the trail; durable on return."""

    def study_key(self, study_uid: str) -> DataKey | None:
        """The data key for new objects of a study, if the study is here."""

    def find_object(self, sop_uid: str, scope: Scope | None) -> StoredObject | None:
        """The stored object of a SOP Instance UID, if it is in scope."""

    def find_objects(self, retrieval: Retrieval, limit: int, scope: Scope | None) -> Sequence[StoredObject]:
        """The objects in scope that a retrieval names, in order of arrival. Raises LimitExceeded beyond ``limit``."""

    def small_object(self, row: int) -> bytes:
        """The sealed bytes of a small object. Raises NotFound."""

    def search(self, query: Query, narrowed: Prefilter, limit: int | None, scope: Scope | None) -> Iterator[SearchRow]:
        """Rows in scope of the query's level that meet the conditions, in order of arrival, at most ``limit``.

        With a limit, the first ``query.offset`` of them are left out; without one the caller does that.
        """

    def count(self, query: Query, narrowed: Prefilter, scope: Scope | None) -> int:
        """How many rows in scope meet the conditions, whatever the query's limit and offset."""


class Progress(Protocol):
    """Something that may take its time, as others see it among the jobs once it does. Blocks for a write at most."""

    def say(self, done: int) -> None:
        """So many are done."""

    def end(self, result: str, *, is_good: bool) -> None:
        """That it is over, and how, in words without anything of a patient."""


class ListedIndex(Index, Protocol):
    """The index for who reads: it has the list that people go through besides."""

    def under_way(self, kind: str, person: str, total: int) -> Progress:
        """Something that somebody has begun with so many objects."""

    def list_studies(self, wanted: StudyList, scope: Scope | None) -> StudyPage:
        """One page of the list of studies in scope, from the beginning if the study that it goes on from is gone."""

    def condition(self, sop_uid: str) -> Condition:
        """What is known of an instance beside what it says."""


class Quarantine(Protocol):
    """Objects that were taken in and are kept out of the archive. Thread-safe."""

    def hold(self, held: Held, event: Event, *alerts: Event) -> str:
        """Keep an object, with its events and the id it got in the trail; durable on return. Returns that id.

        Once it returns, the sealed bytes are the quarantine's: the caller neither uses nor removes them. The same data
        set of the same sender is kept once: the id is that of the first, and the bytes that came now are removed.
        Raises LimitExceeded if the quarantine is full; StorageUnavailable, after which nobody knows whether it is held,
        so that the bytes have to stay as well.
        """


Clock = Callable[[], float]
"""Seconds since 1970, UTC. Passed in, so that tests own the time."""


class SignIn(Protocol):
    """How people come in with a browser, and go. Every call blocks.

    What raises Unauthenticated does so with a reason for the trail; nobody is told it.
    """

    def begin(self, name: str, passcode: str, where: Where) -> Entered:
        """The first step, with a passcode. Raises Unauthenticated, Throttled."""

    def invited(self, secret: str) -> str:
        """The account that a sign-in link is for. Raises NotFound."""

    def redeem(self, secret: str, passcode: str, where: Where) -> Entered:
        """The first step, with a sign-in link and the passcode to have from now on. Raises NotFound, ConfigError."""

    def complete(self, secret: str, code: str, where: Where) -> Entered:
        """The second step, with a one-time or a recovery code. Raises Unauthenticated, Throttled."""

    def offer_totp(self, secret: str, where: Where) -> Offered:
        """A second factor to set up. Raises Unauthenticated, ProofNeeded."""

    def confirm_totp(self, secret: str, code: str, where: Where) -> Entered:
        """Take the factor that was offered. Raises Unauthenticated, Throttled, ProofNeeded."""

    def whoever(self, secret: str, where: Where) -> tuple[Session, Person]:
        """Whose session this is, in whatever state. Raises Unauthenticated."""

    def sessions(self, principal: Principal) -> list[SessionShown]:
        """Somebody's own sessions. Raises Denied."""

    def end_session(self, principal: Principal, number: str) -> None:
        """End one of them. Raises Denied, NotFound."""

    def sign_out(self, principal: Principal) -> None:
        """End the one that somebody is here with. Raises Denied."""

    def prove(self, secret: str, passcode: str, code: str, where: Where) -> Entered:
        """Prove once more who has this session. Raises Unauthenticated, Throttled."""

    def require_fresh(self, secret: str, where: Where, resume: str) -> tuple[Session, Person]:
        """Who may change what he signs in with. Raises Unauthenticated, ProofNeeded."""

    def ways(self, person: str) -> Ways:
        """What somebody has to sign in with beside a passcode."""


class Sharing(Protocol):
    """Studies shown to people without an account. Every call blocks. ``max_s`` is the longest that a share lasts."""

    max_s: int

    def make(self, principal: Principal, new: NewShare) -> MadeShare:
        """Share a study. Raises Denied, NotFound, ConfigError."""

    def shares(self, principal: Principal, *, of_all: bool) -> list[Share]:
        """The newest shares: one's own, or those of all. Raises Denied."""

    def revoke(self, principal: Principal, number: int, *, of_all: bool) -> None:
        """End a share: one's own, or anybody's. Raises Denied, NotFound."""

    def require_good(self, link: str) -> Share:
        """The share of a link that can be opened. Raises NotFound."""

    def open(self, link: str, code: str, where: Where) -> Entered:
        """Begin a session that sees the one study. Raises NotFound, Unauthenticated, Throttled."""


class BreakGlass(Protocol):
    """Patients seen beyond a scope in an emergency. Every call blocks. An opening holds for ``lasts_s``."""

    lasts_s: int

    def has_glass(self, principal: Principal) -> bool:
        """Whether there is anything that somebody would not see without one."""

    def look(self, principal: Principal, text: str) -> list[Candidate]:
        """The patients that somebody may mean by an exact number. Raises Denied, ConfigError."""

    def break_glass(self, principal: Principal, candidate: tuple[str, str], reason: str) -> Opening:
        """Let somebody see a patient (Patient ID, issuer) for a time. Raises Denied, NotFound, ConfigError."""

    def standing(self, principal: Principal) -> list[Opening]:
        """Somebody's own emergencies that hold now. Raises Denied."""

    def end(self, principal: Principal, number: int) -> None:
        """End one of them. Raises Denied, NotFound."""

    def openings(self, principal: Principal | None) -> list[Opening]:
        """The newest of everybody, for who reviews them. Raises Denied."""

    def opening(self, principal: Principal, number: int) -> tuple[Opening, LookedAt]:
        """One, with what was looked at. Raises Denied, NotFound."""

    def review(self, principal: Principal, number: int, remark: str) -> None:
        """Sign one off. Raises Denied, NotFound, ConfigError."""


class Providers(Protocol):
    """How people come in by an identity provider (OpenID Connect). Every call but ``shown`` blocks, and may raise
    NotFound for a provider that is none, and PeerUnavailable for one that is away."""

    def shown(self) -> Sequence[ProviderShown]:
        """Those that there are."""

    def depart(self, name: str, redirect_uri: str, wanted: str, before: str = "") -> Departure:
        """Where to send a browser that is to come back to ``redirect_uri``, and then to the path ``wanted``; to prove
        once more who has the session of the digest ``before``, if there is one."""

    def arrive(self, name: str, sealed: str, response: Sequence[tuple[str, str]], where: Where) -> Arrival:
        """Let in who comes back with what ``depart`` has sealed and with these parameters.

        Raises Unauthenticated, Throttled.
        """


class Passkeys(Protocol):
    """Passkeys of people. Every call blocks; ``secret`` is that of a session, ``text`` what a browser has answered."""

    @property
    def domain(self) -> str:
        """The domain that they are made for."""

    def is_here(self, host: str) -> bool:
        """Whether passkeys work for who calls us by this name."""

    def place(self, port: int) -> str:
        """Where they work: the origin of our pages."""

    def passkeys(self, person: str) -> list[Passkey]:
        """Somebody's passkeys, the oldest first."""

    def options(self, purpose: str, bound: str, where: Where) -> str:
        """What a browser is asked, as JSON. Raises Unauthenticated, ProofNeeded."""

    def sign_in(self, text: str, bound: str, where: Where) -> Entered:
        """The only step, with a passkey that says whose it is. Raises Unauthenticated, Throttled."""

    def complete(self, secret: str, text: str, where: Where) -> Entered:
        """The second step, after a passcode. Raises Unauthenticated, Throttled."""

    def prove(self, secret: str, text: str, where: Where) -> Entered:
        """Prove once more who has this session. Raises Unauthenticated, Throttled."""

    def add(self, secret: str, text: str, name: str, where: Where) -> Entered:
        """Take a passkey that was made. Raises Unauthenticated, ProofNeeded, Denied."""

    def remove(self, secret: str, number: str, where: Where) -> None:
        """Take a passkey from its owner. Raises Unauthenticated, ProofNeeded, NotFound, Denied."""


class AddressSeal(Protocol):
    """What people have typed, as it may stand in addresses that a browser keeps."""

    def seal_typed(self, person: str, text: str) -> str:
        """The text, sealed for this person."""

    def open_typed(self, person: str, sealed: str) -> str | None:
        """What was sealed for this person; None for anything else."""


class OwnAccount(Protocol):
    """What somebody changes of how he signs in. Every call blocks; ``secret`` is that of his session."""

    def change_passcode(self, secret: str, current: str, fresh: str, where: Where) -> None:
        """Another passcode. Raises Unauthenticated, Throttled, ProofNeeded, ConfigError."""

    def remove_totp(self, secret: str, where: Where) -> None:
        """No authenticator app any more. Raises Unauthenticated, ProofNeeded, NotFound, Denied."""

    def new_recovery_codes(self, secret: str, where: Where) -> tuple[str, ...]:
        """New recovery codes, in place of those before. Raises Unauthenticated, ProofNeeded, Denied."""


class Decisions(Protocol):
    """What one person proposes and another one agrees to. Every call blocks."""

    def propose_deletion(self, principal: Principal, study_uid: str, reason: str) -> Proposal:
        """Propose that a study be deleted, or find what waits. Raises Denied, NotFound, ConfigError."""

    def waiting_deletion(self, principal: Principal, study_uid: str) -> Proposal | None:
        """What waits for a study. Raises Denied, NotFound."""

    def proposals(self, principal: Principal) -> list[Proposal]:
        """The newest of everybody. Raises Denied."""

    def proposal(self, principal: Principal, number: int) -> Proposal:
        """One. Raises Denied, NotFound."""

    def agree(self, principal: Principal, number: int, remark: str) -> None:
        """Carry out what somebody else has proposed. Raises Denied, NotFound, ConfigError, StorageUnavailable."""

    def decline(self, principal: Principal, number: int, remark: str) -> None:
        """Decline what somebody has proposed. Raises Denied, NotFound, ConfigError."""

    def may_agree(self, principal: Principal, proposal: Proposal) -> bool:
        """Whether somebody is another person, and may."""
