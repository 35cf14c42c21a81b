"""The sections of ``config.toml`` and their keys: what each means and what it is where nobody says. Data.

Secure behaviour needs no key. Whatever weakens it is a key that begins with ``unsafe_``, carries a reason and an
expiry, and is recorded in the trail at every start.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

import msgspec

LOOPBACK = "127.0.0.1"

JwtAlgorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"
]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


def _key(description: str) -> Any:
    return msgspec.Meta(description=description)


class ArchiveSection(_Section, frozen=True):
    """Who we are."""

    id: Annotated[str, _key("Random, made by `init`; part of every checkpoint's origin.")]
    aet: Annotated[str, _key("AE title that callers must call.")] = "STRONGROOM"


class DicomSection(_Section, frozen=True):
    """The DICOM listener: always TLS, always with a client certificate."""

    bind: Annotated[str, _key("Address to listen on. Nothing beyond loopback until you say so.")] = LOOPBACK
    port: Annotated[int, _key("Port; 0 = any free one. 2762 is registered for dicom-tls.")] = 2762
    tls_profile: Annotated[
        Literal["bcp195", "bcp195-strict"],
        _key("`bcp195`: DICOM PS3.15 B.12, TLS 1.2 and 1.3. `bcp195-strict`: B.13, its closed list of cipher suites."),
    ] = "bcp195"
    workers: Annotated[
        int,
        _key(
            "Processes that serve associations, and take in what is stored over HTTPS, 1 to 64; 0: the one that "
            "accepts them does so itself."
        ),
    ] = 3
    private_storage_classes: Annotated[
        tuple[str, ...], _key("UIDs of private SOP classes to store, beside all of the standard.")
    ] = ()
    drain_timeout_s: Annotated[
        float, _key("For messages under way when the archive is stopped; associations without one end at once.")
    ] = 10.0


class HttpsSection(_Section, frozen=True):
    """The HTTPS listener of DICOMweb: always TLS, a token or a client certificate for everything but `/health`."""

    bind: Annotated[str, _key("Address to listen on.")] = LOOPBACK
    port: Annotated[int, _key("Port; 0 = any free one.")] = 8443
    public_port: Annotated[
        int, _key("Port in links for clients that name none, where another one is forwarded here; 0 = `port`.")
    ] = 0
    workers: Annotated[int, _key("Processes that answer, 1 to 64; 0: nothing is served over HTTPS.")] = 2
    threads: Annotated[int, _key("Requests of one process that may read the index or objects at a time, 1 to 256.")] = 8
    names: Annotated[
        tuple[str, ...],
        _key("Host names that clients call, in the certificate; requests for any other name are refused."),
    ] = ()
    drain_timeout_s: Annotated[float, _key("For requests under way when the archive is stopped.")] = 10.0
    metadata_cache_mib: Annotated[
        int, _key("Room in the data directory for sealed metadata of series that was asked for, MiB; 0 = none is kept.")
    ] = 1024
    viewer_dir: Annotated[
        str, _key("Directory of the viewer OHIF, which `strongroom viewer add` makes. Empty: `HOME/viewer`.")
    ] = ""


class SessionsSection(_Section, frozen=True):
    """Sessions of people who sign in with a browser."""

    idle_timeout_s: Annotated[float, _key("Without a request; then one signs in again. 60 to 28800.")] = 1800.0
    max_age_s: Annotated[float, _key("However busy a session is. 300 to 86400.")] = 43_200.0
    proof_max_age_s: Annotated[
        float, _key("Since somebody last proved who he is; then what matters most asks for it again. 60 to 3600.")
    ] = 600.0
    passkey_domain: Annotated[
        str,
        _key(
            "Domain that passkeys are made for: one of `https.names`, or a domain that they end in. Empty: the first "
            "of them, or `localhost` where there is none. They work for this one only, and are lost when it changes."
        ),
    ] = ""
    link_expires_s: Annotated[float, _key("For a sign-in link to be used. 60 to 604800.")] = 3600.0


class PeopleSection(_Section, frozen=True):
    """What people may open to others, and to themselves in an emergency."""

    share_max_s: Annotated[float, _key("Longest that a study is shared by a link. 3600 to 31622400.")] = 2_592_000.0
    break_glass_s: Annotated[
        float, _key("How long a patient is seen whom somebody broke the glass for. 300 to 86400.")
    ] = 14_400.0


class JwtSection(_Section, frozen=True):
    """Bearer tokens of an identity provider, taken over HTTPS once `issuer` is set."""

    issuer: Annotated[str, _key("What the claim `iss` has to be. Empty: no JWT is taken.")] = ""
    audience: Annotated[str, _key("What the claim `aud` has to be, or has to have in it.")] = ""
    keys: Annotated[str, _key("File of the provider's public keys: a JSON Web Key Set or PEM.")] = ""
    algorithms: Annotated[
        tuple[JwtAlgorithm, ...],
        _key(
            "Signature algorithms that are taken, of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, "
            "EdDSA and Ed25519. None of them has a shared secret."
        ),
    ] = ("ES256", "RS256")
    rights_claim: Annotated[
        str, _key("Claim with the words `search`, `read`, `store`, `delete`: a list, or a text with spaces.")
    ] = "scope"
    scope_claim: Annotated[
        str,
        _key(
            "Claim with the terms of a scope, as `strongroom token add --scope` takes them; a token without it is "
            "refused. Empty: no token is limited."
        ),
    ] = "strongroom_scope"
    leeway_s: Annotated[float, _key("How far the provider's clock may be off, at most 300.")] = 30.0
    max_lifetime_s: Annotated[
        float, _key("Longest time from `iat` to `exp`, at most a day: a JWT cannot be revoked.")
    ] = 3600.0


class OidcGrant(_Section, frozen=True):
    """What a value of the roles' claim makes of somebody. May be repeated; roles add up, scopes narrow."""

    value: Annotated[str, _key("The value.")]
    roles: Annotated[tuple[str, ...], _key("Roles, as `strongroom user add --role` takes them.")]
    scope: Annotated[
        tuple[str, ...],
        _key("Terms of a scope, as `strongroom user add --scope` takes them. Empty: no limit by this grant."),
    ] = ()


class OidcSection(_Section, frozen=True):
    """An identity provider that people sign in with (OpenID Connect): [how](identity-providers.md). May be repeated."""

    name: Annotated[
        str, _key("A word of small letters, digits and dashes, in addresses and before the names of its people.")
    ]
    label: Annotated[str, _key('What the link to sign in with it says after "Sign in with".')]
    issuer: Annotated[str, _key("Its issuer, an `https://` address, letter by letter as its metadata has it.")]
    client_id: Annotated[str, _key("What the archive is called there.")]
    client_secret_file: Annotated[
        str, _key("File with the client's secret, readable to the archive alone. Empty: a public client.")
    ] = ""
    scopes: Annotated[tuple[str, ...], _key("What is asked for; `openid` is always.")] = ("openid", "profile")
    name_claim: Annotated[str, _key("Claim with a person's name.")] = "preferred_username"
    roles_claim: Annotated[
        str, _key("Claim with the values that grants are for. Empty: roles are those of accounts that were linked.")
    ] = ""
    make_accounts: Annotated[
        bool, _key("Make an account at the first sign-in of who has a role. Else: `strongroom user link` alone.")
    ] = True
    multifactor_amr: Annotated[
        tuple[str, ...], _key("Values of `amr` that stand for two factors. None: ours follows for who needs one.")
    ] = ()
    multifactor_acr: Annotated[tuple[str, ...], _key("Values of `acr` that do; they are asked for.")] = ()
    ca_file: Annotated[
        str, _key("PEM file with the CA of its certificate, and no other. Empty: the system's own CAs.")
    ] = ""
    algorithms: Annotated[
        tuple[JwtAlgorithm, ...], _key("Signature algorithms of ID tokens, as in `jwt.algorithms`.")
    ] = ("ES256", "RS256")
    leeway_s: Annotated[float, _key("How far its clock may be off, at most 300.")] = 30.0
    timeout_s: Annotated[float, _key("For one answer of it to be there, all of it, 1 to 60.")] = 10.0
    grants: Annotated[tuple[OidcGrant, ...], _key("A table `[[oidc.grants]]` for each value.")] = ()


class IndexSection(_Section, frozen=True):
    """Where the index is kept."""

    url: Annotated[str, _key("Empty: an encrypted SQLite file in the data directory. Else a `postgresql://` URL.")] = ""
    cache_mib: Annotated[int, _key("Page cache per connection of the encrypted file, MiB.")] = 64


class KeysSection(_Section, frozen=True):
    """Where the master key comes from."""

    source: Annotated[
        Literal["file", "passphrase", "command"],
        _key("`file`: a key file. `passphrase`: from STRONGROOM_PASSPHRASE. `command`: what a program prints."),
    ] = "file"
    path: Annotated[
        str,
        _key("Directory of key files or salts, never below the data directory. Empty: `HOME.keys` beside the home."),
    ] = ""
    command: Annotated[tuple[str, ...], _key("Program and arguments; `{key_id}` becomes the id of the key.")] = ()


class TrailSection(_Section, frozen=True):
    """Signed checkpoints of the audit trail."""

    checkpoint_interval_s: Annotated[float, _key("Seconds between checkpoints, if anything happened.")] = 60.0
    checkpoint_dirs: Annotated[
        tuple[str, ...], _key("Second places for checkpoints: another disk, a share of another department.")
    ] = ()
    timestamp_url: Annotated[
        str, _key("RFC 3161 time stamp authority, `http://` or `https://`. Empty: checkpoints are not stamped.")
    ] = ""
    timestamp_cert: Annotated[
        str,
        _key("PEM file with the authority's root CA: each stamp is verified with it before it is kept. Empty: later."),
    ] = ""
    timestamp_interval_s: Annotated[float, _key("Seconds between stamps, if there is a new checkpoint.")] = 3600.0


class CheckSection(_Section, frozen=True):
    """The check that `serve` runs by itself, in a process of low priority: every object is read again and hashed."""

    every_days: Annotated[float, _key("Every object is read again within this many days; 0 = never by itself.")] = 30.0
    max_bytes_per_s: Annotated[int, _key("Most that it reads in a second.")] = 64 * 2**20


Policy = Literal["accept", "flag", "quarantine", "refuse"]


class ScreeningSection(_Section, frozen=True):
    """What happens to an object in which something is found, before it is stored: by the severity of its worst finding
    "accept", "flag" (stored and recorded so; from high on with an alert), "quarantine" or "refuse"."""

    enabled: Annotated[bool, _key("Screen what arrives by C-STORE, STOW-RS and import.")] = True
    low: Annotated[Policy, _key("For findings of low severity.")] = "accept"
    medium: Annotated[Policy, _key("For findings of medium severity.")] = "flag"
    high: Annotated[Policy, _key("For findings of high severity.")] = "quarantine"
    critical: Annotated[Policy, _key("For findings of critical severity.")] = "quarantine"
    altered: Annotated[
        Literal["quarantine", "refuse"],
        _key("For an object whose SOP Instance UID is stored with other content: quarantine or refuse."),
    ] = "quarantine"
    digests: Annotated[
        bool, _key("Compute, in a process of low priority, what tells one content and one picture from others.")
    ] = True
    study_closes_after_h: Annotated[
        float, _key("Hours after its last instance; what comes later, from elsewhere, is flagged as unverified.")
    ] = 24.0
    yara_rules: Annotated[
        tuple[str, ...],
        _key("Files of YARA rules, or folders of `*.yar` and `*.yara`, run by YARA-X (`strongroom[yara]`)."),
    ] = ()
    clamd: Annotated[str, _key("ClamAV here: `unix:/run/clamav/clamd.ctl` or `tcp:127.0.0.1:3310`. Empty: none.")] = ""
    clamd_max_mib: Annotated[int, _key("Of an object, MiB that clamd is shown: its `StreamMaxLength` at most.")] = 25
    engine_timeout_s: Annotated[float, _key("For YARA-X or clamd to answer; then it counts as failed.")] = 60.0
    engine_failure: Annotated[
        Policy, _key("For an object that they could not look at. `refuse`: the sender is told to try again later.")
    ] = "refuse"
    request_days: Annotated[
        int, _key("Days after which a request to release or destroy what is in quarantine lapses, 1 to 365.")
    ] = 7


class SignaturesSection(_Section, frozen=True):
    """Digital signatures in objects (PS3.15 annex C), verified when they come; none is refused for its sake."""

    trusted: Annotated[tuple[str, ...], _key("PEM files of signers, or of who issued theirs; of time stampers.")] = ()
    revocation_lists: Annotated[
        tuple[str, ...], _key("Certificate revocation lists of those, PEM or DER: files, or folders of them.")
    ] = ()


class LogSection(_Section, frozen=True):
    """What `serve` and its processes write to standard error."""

    format: Annotated[
        Literal["text", "json"], _key("`text`, or `json`: an object a line, with fields of a fixed list and no others.")
    ] = "text"


class LimitsSection(_Section, frozen=True):
    """Every cap that a stranger can run into."""

    max_pdu_body_bytes: Annotated[int, _key("Largest P-DATA-TF PDU taken, as announced to peers.")] = 262_144
    max_handshakes: Annotated[int, _key("Connections whose TLS handshake is under way; one more ends the oldest.")] = 64
    max_handshakes_per_address: Annotated[int, _key("The same from one address; one more is refused.")] = 32
    max_associations: Annotated[int, _key("Connections at a time that have shown a trusted certificate.")] = 256
    max_associations_per_peer: Annotated[int, _key("Associations at a time of one peer.")] = 64
    max_associations_per_address: Annotated[int, _key("Connections at a time from one address.")] = 128
    artim_timeout_s: Annotated[float, _key("For the A-ASSOCIATE-RQ, and for the peer to close (PS3.8 9.1.5).")] = 15.0
    idle_timeout_s: Annotated[float, _key("Without a byte from a peer, or without it reading one.")] = 300.0
    message_timeout_s: Annotated[float, _key("For one whole message to arrive.")] = 3600.0
    min_receive_bytes_per_s: Annotated[int, _key("Slowest sender of a message, after 10 s.")] = 4096
    tls_handshake_timeout_s: Annotated[float, _key("For the whole TLS handshake.")] = 10.0
    max_message_bytes: Annotated[int, _key("Largest data set.")] = 64 * 2**30
    max_identifier_bytes: Annotated[int, _key("Largest identifier of a query or retrieval.")] = 2**20
    max_header_bytes: Annotated[int, _key("Bytes of a data set held until its Study Instance UID has come.")] = (
        4 * 2**20
    )
    max_element_depth: Annotated[int, _key("Sequences within sequences.")] = 32
    max_element_count: Annotated[int, _key("Elements of one data set.")] = 200_000
    max_element_value_bytes: Annotated[int, _key("Longest value that is indexed.")] = 2**20
    max_inflate_ratio: Annotated[int, _key("Expansion of a deflated data set, beyond its first 16 MiB.")] = 200
    max_kept_bytes: Annotated[int, _key("Indexed values of one object together.")] = 4 * 2**20
    max_inflated_bytes: Annotated[int, _key("Inflated bytes of a deflated data set.")] = 4 * 2**30
    max_command_bytes: Annotated[int, _key("Largest command set.")] = 16 * 1024
    max_empty_fragments: Annotated[int, _key("Fragments of one message that carry nothing.")] = 8
    max_query_keys: Annotated[int, _key("Keys of one query, those in sequence items included.")] = 256
    max_query_depth: Annotated[int, _key("Sequences within sequences of a query.")] = 4
    max_query_uids: Annotated[int, _key("UIDs in one list of a query.")] = 2000
    max_query_values: Annotated[int, _key("Values of one key that is no list of UIDs.")] = 64
    max_query_value_chars: Annotated[int, _key("Characters of one value of a query.")] = 10_240
    max_query_pattern_chars: Annotated[int, _key("Characters of one value with wildcards, at most 511.")] = 511
    max_query_results: Annotated[int, _key("Answers to one query; then status B001.")] = 10_000
    max_query_bytes: Annotated[int, _key("Indexed attributes held for the answers to one query; then status B001.")] = (
        64 * 2**20
    )
    max_retrieve_objects: Annotated[int, _key("Objects of one C-MOVE or C-GET.")] = 100_000
    max_pending_commitments_per_peer: Annotated[
        int, _key("Storage commitment reports that wait for one peer; further requests get status 0213.")
    ] = 256
    max_http_connections: Annotated[int, _key("HTTPS connections of one worker process at a time.")] = 1024
    max_http_connections_per_address: Annotated[int, _key("The same from one address.")] = 128
    max_request_target_bytes: Annotated[int, _key("Longest path and query of an HTTP request.")] = 16_384
    max_request_headers: Annotated[int, _key("Headers of one HTTP request.")] = 100
    max_request_header_bytes: Annotated[int, _key("Those headers together.")] = 32_768
    http_header_timeout_s: Annotated[float, _key("For the head of an HTTP request to arrive.")] = 10.0
    http_idle_timeout_s: Annotated[float, _key("Between two requests of one HTTPS connection.")] = 75.0
    max_bearer_bytes: Annotated[int, _key("Authorization field of an HTTP request, which may hold a JWT.")] = 8192
    max_request_bytes: Annotated[int, _key("Body of one request that stores.")] = 256 * 2**30
    max_request_parts: Annotated[int, _key("Parts of one multipart body, and instances in its metadata.")] = 20_000
    max_part_header_bytes: Annotated[int, _key("Header of one part.")] = 16_384
    max_part_header_fields: Annotated[int, _key("Fields of that header.")] = 32
    max_metadata_bytes: Annotated[int, _key("JSON or XML metadata of one request that stores.")] = 16 * 2**20
    max_metadata_values: Annotated[int, _key("Attributes and values in that metadata.")] = 1_000_000
    max_held_bulk_bytes: Annotated[
        int, _key("Bulk data of one request that came before what it belongs to, or whose length was not foreseen.")
    ] = 64 * 2**20
    max_held_bytes_of_all: Annotated[
        int, _key("That bulk data, eight times that metadata, and answers to searches, in one HTTPS worker; then 503.")
    ] = 2**30
    min_send_bytes_per_s: Annotated[int, _key("Slowest reader of an HTTP answer, after 10 s.")] = 4096
    max_request_ranges: Annotated[int, _key("Byte ranges of one HTTP request; then status 416.")] = 16
    max_request_frames: Annotated[int, _key("Frames named in one HTTP request.")] = 4096
    max_pixel_workers: Annotated[int, _key("Processes per HTTPS worker that decode, encode and render pixels.")] = 2
    max_pixel_jobs_waiting: Annotated[int, _key("Requests of one HTTPS worker that wait for one; then 503.")] = 64
    pixel_wait_s: Annotated[float, _key("For one of them to become free; then 503.")] = 20.0
    max_pixel_pause_s: Annotated[float, _key("Of one, for a slow reader while others wait; then he is cut off.")] = 5.0
    pixel_worker_bytes: Annotated[int, _key("Memory that one may take once it has started.")] = 2**30
    pixel_frame_cpu_s: Annotated[int, _key("Processor time for one frame; then the codec counts as hung.")] = 20
    pixel_step_timeout_s: Annotated[float, _key("Without a word from one; then the codec counts as hung.")] = 60.0
    max_frame_bytes: Annotated[int, _key("Of one frame that is decoded, encoded or not.")] = 256 * 2**20
    max_rendered_pixels: Annotated[int, _key("Of one rendered frame.")] = 16 * 2**20
    max_rendered_frames: Annotated[int, _key("Of one animation or video.")] = 2000
    max_rendered_bytes: Annotated[int, _key("Of one rendered image, animation or video.")] = 64 * 2**20
    max_pixel_fragments: Annotated[int, _key("Fragments of pixel data that has no offset table.")] = 2**20
    max_frame_index_bytes: Annotated[int, _key("Memory of one worker for where frames of such pixel data lie.")] = (
        64 * 2**20
    )
    max_quarantine_objects: Annotated[int, _key("Objects in quarantine; beyond it they are refused.")] = 10_000
    max_signatures: Annotated[int, _key("Digital signatures of one object that are verified.")] = 64
    max_quarantine_bytes: Annotated[int, _key("The same in bytes of their data sets.")] = 64 * 2**30
    commitment_retry_s: Annotated[
        float, _key("Until an undelivered commitment report is tried again; doubled each time, up to an hour.")
    ] = 60.0
    max_commitment_tries: Annotated[int, _key("Tries to deliver a commitment report before it is given up.")] = 24


class UnsafePlaintext(_Section, frozen=True):
    """A listener with no TLS, for one old modality, from one address range, until one date. May be repeated."""

    peer: Annotated[str, _key("AE title of the one registered peer that may use it.")]
    addresses: Annotated[str, _key("Address range (CIDR) that it calls from, at most a /16.")]
    expires: Annotated[date, _key("Last day, at most 366 ahead; then it is not opened and callers are refused.")]
    reason: Annotated[str, _key("Why this peer cannot use TLS; recorded at every start.")]
    port: Annotated[int, _key("Port of this listener.")]
    bind: Annotated[str, _key("Address to listen on.")] = LOOPBACK


class Config(_Section, frozen=True):
    """The whole configuration of one archive."""

    archive: ArchiveSection
    dicom: DicomSection = DicomSection()
    https: HttpsSection = HttpsSection()
    sessions: SessionsSection = SessionsSection()
    people: PeopleSection = PeopleSection()
    jwt: JwtSection = JwtSection()
    index: IndexSection = IndexSection()
    keys: KeysSection = KeysSection()
    trail: TrailSection = TrailSection()
    check: CheckSection = CheckSection()
    screening: ScreeningSection = ScreeningSection()
    signatures: SignaturesSection = SignaturesSection()
    log: LogSection = LogSection()
    limits: LimitsSection = LimitsSection()
    oidc: tuple[OidcSection, ...] = ()
    unsafe_plaintext: tuple[UnsafePlaintext, ...] = ()
