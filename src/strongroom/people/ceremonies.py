"""The two ceremonies of passkeys (W3C Web Authentication Level 3, 7.1 and 7.2): what a browser is asked, and whether
its answer holds. Nothing is looked up or kept here.

Whoever holds a passkey has to be verified by it, with a PIN, a finger or a face: it counts as both factors. What it is
made by is not asked: no attestation.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import msgspec
from webauthn import (
    base64url_to_bytes,
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import bytes_to_base64url, parse_attestation_object
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AuthenticatorSelectionCriteria,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from strongroom.archive.people import Passkey
from strongroom.errors import Unauthenticated

HTTPS_PORT: Final = 443
ASK_FOR_MS: Final = 300_000
MAX_CREDENTIAL_BYTES: Final = 1023
"""The longest id of a credential (7.1, step 25)."""

ANSWER_WRONG: Final = "passkey-answer-wrong"
NO_ATTESTATION: Final = frozenset({"none", "packed"})
"""``packed`` without a certificate is what a passkey says of itself, which no browser takes away."""


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """Who we are to a passkey: the domain it is made for, what it shows its owner, and the host names of ours in it."""

    rp_id: str
    title: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, names: Sequence[str], rp_id: str, title: str) -> RelyingParty:
        """For an archive that browsers call by ``names``; "" makes the first of them the domain, else ``localhost``."""
        known = [name.lower() for name in (*names, "localhost") if not _is_address(name)]
        domain = rp_id or known[0]
        return cls(domain, title, tuple(name for name in known if name == domain or name.endswith(f".{domain}")))

    def origins(self, port: int) -> list[str]:
        """The origins of our pages on a port (RFC 6454)."""
        return [f"https://{name}" + (f":{port}" if port != HTTPS_PORT else "") for name in self.names]


class Answer(NamedTuple):
    """What a browser's answer says of itself, before anything of it is verified. ``credential`` is in base64url."""

    text: str
    credential: str
    challenge: bytes
    handle: bytes


class Holds(NamedTuple):
    """An answer of a passkey that holds: its counter now, and whether there are copies of it."""

    counter: int
    is_synced: bool


class _ClientData(msgspec.Struct, rename={"cross_origin": "crossOrigin", "top_origin": "topOrigin"}):
    type: str
    challenge: str
    origin: str
    cross_origin: bool = False
    top_origin: str = ""


class _Response(msgspec.Struct, rename={"client_data": "clientDataJSON", "handle": "userHandle"}):
    client_data: str
    handle: str | None = None


class _Credential(msgspec.Struct):
    id: str
    response: _Response


def creation_options(site: RelyingParty, owner: tuple[str, bytes], challenge: bytes, known: Iterable[str]) -> str:
    """What a browser is asked to make a passkey of, as JSON. ``owner`` is the name of the account and the handle that
    the passkey knows it by; ``known`` are credentials that it has already."""
    name, handle = owner
    return options_to_json(
        generate_registration_options(
            rp_id=site.rp_id,
            rp_name=site.title,
            user_name=name,
            user_id=handle,
            challenge=challenge,
            timeout=ASK_FOR_MS,
            attestation=AttestationConveyancePreference.NONE,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
            ),
            exclude_credentials=_descriptors(known),
        )
    )


def request_options(site: RelyingParty, challenge: bytes, known: Iterable[str]) -> str:
    """What a browser is asked to show a passkey by, as JSON: one of ``known``; any one if there are none."""
    return options_to_json(
        generate_authentication_options(
            rp_id=site.rp_id,
            challenge=challenge,
            timeout=ASK_FOR_MS,
            allow_credentials=_descriptors(known),
            user_verification=UserVerificationRequirement.REQUIRED,
        )
    )


def parse_answer(text: str) -> Answer:
    """What a browser has answered, in the JSON form of a public key credential. Raises Unauthenticated."""
    try:
        found = msgspec.json.decode(text, type=_Credential)
        client = msgspec.json.decode(base64url_to_bytes(found.response.client_data), type=_ClientData)
        challenge = base64url_to_bytes(client.challenge)
        credential = base64url_to_bytes(found.id)
        handle = base64url_to_bytes(found.response.handle or "")
    except (msgspec.DecodeError, ValueError):
        raise Unauthenticated(ANSWER_WRONG) from None
    if client.cross_origin or client.top_origin or not 0 < len(credential) <= MAX_CREDENTIAL_BYTES:
        raise Unauthenticated(ANSWER_WRONG)  # no page of ours is in anybody's frame
    return Answer(text, bytes_to_base64url(credential), challenge, handle)


def verified_passkey(site: RelyingParty, answer: Answer, port: int, blank: Passkey) -> Passkey:
    """The passkey that was made: ``blank``, filled in. Whoever calls has verified the challenge.

    Raises Unauthenticated.
    """
    try:
        _require_no_attestation(answer)
        verified = verify_registration_response(
            credential=answer.text,
            expected_challenge=answer.challenge,
            expected_rp_id=site.rp_id,
            expected_origin=site.origins(port),
            require_user_verification=True,
        )
    except Unauthenticated:
        raise
    except Exception:  # the parsers below raise whatever they run into
        raise Unauthenticated(ANSWER_WRONG) from None
    credential = bytes_to_base64url(verified.credential_id)
    if credential != answer.credential:
        raise Unauthenticated(ANSWER_WRONG)
    is_synced = verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE
    return replace(
        blank,
        credential=credential,
        rp_id=site.rp_id,
        public_key=verified.credential_public_key,
        counter=verified.sign_count,
        is_synced=is_synced,
    )


def require_holds(site: RelyingParty, answer: Answer, port: int, passkey: Passkey) -> Holds:
    """Return what an answer of this passkey says, if it holds. Whoever calls has verified the challenge, and compares
    the counter. Raises Unauthenticated."""
    try:
        verified = verify_authentication_response(
            credential=answer.text,
            expected_challenge=answer.challenge,
            expected_rp_id=site.rp_id,
            expected_origin=site.origins(port),
            credential_public_key=passkey.public_key,
            credential_current_sign_count=0,  # compared where it is kept, in one transaction
            require_user_verification=True,
        )
    except Exception:  # the parsers below raise whatever they run into
        raise Unauthenticated(ANSWER_WRONG) from None
    return Holds(verified.new_sign_count, verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE)


def _require_no_attestation(answer: Answer) -> None:
    """Chains of certificates would be parsed for nothing."""
    said: Any = msgspec.json.decode(answer.text)
    attestation = parse_attestation_object(base64url_to_bytes(said["response"]["attestationObject"]))
    if attestation.fmt not in NO_ATTESTATION or attestation.att_stmt.x5c:
        raise Unauthenticated("passkey-attestation-not-asked-for")


def _descriptors(known: Iterable[str]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=base64url_to_bytes(each)) for each in known]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
