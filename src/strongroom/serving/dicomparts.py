"""What associations need of an open archive: peers, the gate, the services. The same in every process that has some."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

from strongroom.app import SERVER_SECRET, Archive
from strongroom.archive.access import narrowed_to_person
from strongroom.archive.commitment import CommitmentLimits, Commitments
from strongroom.archive.constraint import QueryLimits
from strongroom.archive.peers import Peer
from strongroom.config import Config
from strongroom.dicom.dictionary import STORAGE_SOP_CLASSES
from strongroom.dimse import CFindRq, CGetRq, ChannelLimits, CMoveRq, NActionRq, NEventReportRsp
from strongroom.door import new_memory
from strongroom.errors import Denied
from strongroom.net.acceptor import Gate
from strongroom.net.associations import AssociationLimits, Associations
from strongroom.net.commitment_scp import CommitmentScp
from strongroom.net.connection import Timeouts
from strongroom.net.directory import PeerDirectory
from strongroom.net.find_scp import find
from strongroom.net.forward import PeerCaller
from strongroom.net.places import PlaceLimits
from strongroom.net.retrieve_scp import MoveScp, get
from strongroom.net.scp import Services
from strongroom.net.scu import ScuTimeouts
from strongroom.people.calling import CallingPeople
from strongroom.store.commitments import CommitmentLedger
from strongroom.store.registry import REGISTRY_VERSION
from strongroom.types import Principal, Uid
from strongroom.ul import UlLimits

MAX_CALL_S = 24 * 3600.0
"""The longest association that the archive itself opens: a C-MOVE of everything a large study has, on a slow line."""


class DicomParts:
    """The parts of one process."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        registry, database = archive.index.registry, archive.index.database

        def version() -> str:
            with database.reading() as cursor:
                return registry.get_meta(cursor, REGISTRY_VERSION)

        def peers() -> dict[str, Peer]:
            with database.reading() as cursor:
                return registry.peers(cursor)

        self._people = CallingPeople(database, time.time)
        self._identity = self._identity_digest()
        material, config = archive.tls(), archive.config
        authority_pem = material.authority.certificate_pem.decode()
        self.directory = PeerDirectory(version, peers, material.identity, authority_pem, config.dicom.tls_profile)
        self.caller = PeerCaller(archive.aet, self.directory.find, self.directory.client_context, _scu_timeouts(config))
        self.commitments = _commitments(archive)

    def associations(self, wake_reports: Callable[[], None]) -> Associations:
        """What serves the associations of this process; ``wake_reports`` tells that a commitment report is due."""
        archive, config, find_peer = self._archive, self._archive.config, self.directory.find
        private = tuple(Uid.parse(uid) for uid in config.dicom.private_storage_classes)
        gate = Gate(archive.aet, private, find_peer, self._people.verify)
        services = Services(
            archive.reader,
            archive.new_ingest,
            archive.index.record,
            find_peer,
            query_limits=query_limits(config),
            new_memory=new_memory,
        )
        commitment = CommitmentScp(self.commitments, self.caller, wake_reports)
        services.handlers.update({CFindRq: find, CGetRq: get, CMoveRq: MoveScp(self.caller)})
        services.handlers.update({NActionRq: commitment.request, NEventReportRsp: commitment.answered})
        return Associations(gate, services, _association_limits(config))

    def use_new_identity(self) -> None:
        """Present the archive's own certificate as it is now, whichever process has renewed it."""
        digest = self._identity_digest()
        if digest != self._identity:
            self.directory.use(self._archive.tls().identity)
            self._identity = digest

    def _identity_digest(self) -> bytes:
        return sha256(self._archive.secrets.get(SERVER_SECRET)).digest()

    def why_over(self, principal: Principal) -> str:
        """Why an association of a principal is to end, "" if it is not: a revocation, or a change, has overtaken it."""
        peer = self.directory.find(principal.aet)
        if peer is None or peer.revoked_us:
            return "peer-revoked"
        now = replace(principal, rights=peer.rights, scope=peer.scope)
        if principal.user:
            person = self._people.person(principal.user)
            if person is None or person.disabled_us:
                return "user-disabled"
            try:
                now = narrowed_to_person(now, person)
            except Denied:
                return "scope-changed"
        if now.rights != principal.rights:
            return "rights-changed"
        if now.scope != principal.scope:
            return "scope-changed"
        if principal.fingerprint and peer.fingerprint not in ("", principal.fingerprint):
            return "certificate-changed"
        return ""


def _commitments(archive: Archive) -> Commitments:
    limits = archive.config.limits
    return Commitments(
        ledger=CommitmentLedger(archive.index.database),
        index=archive.index,
        open_object=archive.reader.open,
        sop_classes=STORAGE_SOP_CLASSES.union(archive.config.dicom.private_storage_classes),
        limits=CommitmentLimits(
            limits.max_pending_commitments_per_peer, limits.commitment_retry_s, limits.max_commitment_tries
        ),
        clock=time.time,
    )


def _scu_timeouts(config: Config) -> ScuTimeouts:
    limits = config.limits
    return ScuTimeouts(limits.artim_timeout_s, limits.idle_timeout_s, limits.message_timeout_s, MAX_CALL_S)


def query_limits(config: Config) -> QueryLimits:
    """What a query may hold."""
    limits = config.limits
    return QueryLimits(
        limits.max_query_keys,
        limits.max_query_depth,
        limits.max_query_uids,
        limits.max_query_values,
        limits.max_query_value_chars,
        limits.max_query_pattern_chars,
    )


def _association_limits(config: Config) -> AssociationLimits:
    limits = config.limits
    return AssociationLimits(
        ul=UlLimits(max_pdu_body_bytes=limits.max_pdu_body_bytes),
        channel=ChannelLimits(
            max_command_bytes=limits.max_command_bytes,
            max_message_bytes=limits.max_message_bytes,
            max_identifier_bytes=limits.max_identifier_bytes,
            max_empty_fragments=limits.max_empty_fragments,
        ),
        timeouts=Timeouts(
            limits.artim_timeout_s, limits.idle_timeout_s, limits.message_timeout_s, limits.min_receive_bytes_per_s
        ),
        tls_handshake_timeout_s=limits.tls_handshake_timeout_s,
    )


def place_limits(config: Config) -> PlaceLimits:
    """How many connections there may be, over all processes."""
    limits = config.limits
    return PlaceLimits(
        max_handshakes=limits.max_handshakes,
        max_handshakes_per_address=limits.max_handshakes_per_address,
        max_associations=limits.max_associations,
        max_associations_per_peer=limits.max_associations_per_peer,
        max_associations_per_address=limits.max_associations_per_address,
    )
