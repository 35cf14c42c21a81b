"""``config.toml`` -> one frozen ``Config``. Parsed once and checked whole; unknown keys are errors."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from datetime import UTC, date, datetime, timedelta
from math import inf
from typing import get_args, get_type_hints

import msgspec

from strongroom.config.home import CONFIG_NAME, Home, config_is_missing, restore_did_not_end
from strongroom.config.providers import check_providers
from strongroom.config.sections import (
    LOOPBACK,
    Config,
    HttpsSection,
    JwtSection,
    LimitsSection,
    PeopleSection,
    SessionsSection,
    TrailSection,
    UnsafePlaintext,
)
from strongroom.config.words import in_words
from strongroom.errors import ConfigError

MAX_EXCEPTION_SPAN = timedelta(days=366)
"""How far ahead an exception may expire: somebody has to say once a year that it is still needed."""


def load(home: Home) -> Config:
    """Return the checked configuration of ``home``. Raises ConfigError with what to change."""
    if home.config.name == CONFIG_NAME and home.unfinished.exists():
        raise ConfigError(restore_did_not_end(home))
    try:
        text = home.config.read_text(encoding="utf-8")
    except FileNotFoundError:
        if home.holds_archive():
            raise ConfigError(config_is_missing(home)) from None
        raise ConfigError(f"no archive in {home.root}: run `strongroom init --home {home.root}` first") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {home.config}: {error}") from None
    return parse(text, where=str(home.config))


def parse(text: str, *, where: str = CONFIG_NAME, today: date | None = None) -> Config:
    """Parse and check the text of a configuration file; without ``today`` it is today's date in UTC."""
    try:
        config = msgspec.convert(tomllib.loads(text), Config, strict=True)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: {error}") from None
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {in_words(str(error), _keys_of)}") from None
    _check(config, today or datetime.now(UTC).date())
    return config


def _keys_of(section: str) -> tuple[str, ...]:
    """The keys that a section of the file may have; "" is the file itself."""
    hints = get_type_hints(Config)
    sections: dict[str, type[msgspec.Struct]] = {"": Config}
    sections |= {name: (get_args(hint) or (hint,))[0] for name, hint in hints.items()}
    return sections.get(section, Config).__struct_fields__


def _check(config: Config, today: date) -> None:
    for section, listener in (("dicom", config.dicom), ("https", config.https)):
        if not 0 <= listener.port <= 65535:
            raise ConfigError(f"{section}.port must be 0 to 65535")
        _address(listener.bind, f"{section}.bind")
    if not 0 <= config.https.public_port <= 65535:
        raise ConfigError("https.public_port must be 0 to 65535")
    if not 0 <= config.dicom.workers <= 64:
        raise ConfigError("dicom.workers must be 0 to 64")
    if not 0 < config.dicom.drain_timeout_s < inf:
        raise ConfigError("dicom.drain_timeout_s must be greater than 0 and finite")
    _check_https(config.https)
    _check_jwt(config.jwt)
    _check_sessions(config.sessions, config.https.names)
    _check_people(config.people)
    check_providers(config.oidc)
    for name in LimitsSection.__struct_fields__:
        if not 0 < getattr(config.limits, name) < inf:  # TOML has nan and inf, which no deadline ever reaches
            raise ConfigError(f"limits.{name} must be greater than 0 and finite")
    _check_trail(config.trail)
    if not 0 <= config.check.every_days <= 3650 or config.check.max_bytes_per_s < 1:
        raise ConfigError("check.every_days must be 0 to 3650, check.max_bytes_per_s greater than 0")
    if not 1 <= config.screening.request_days <= 365:
        raise ConfigError("screening.request_days must be 1 to 365")
    if not 1 <= config.index.cache_mib <= 65536:
        raise ConfigError("index.cache_mib must be 1 to 65536")
    if not 4096 <= config.limits.max_pdu_body_bytes <= 2**24:
        raise ConfigError("limits.max_pdu_body_bytes must be 4096 to 16777216")
    if config.limits.max_query_pattern_chars > 511:  # longer values are compared by their beginning
        raise ConfigError("limits.max_query_pattern_chars must be 1 to 511")
    if config.limits.max_query_depth > 64:
        raise ConfigError("limits.max_query_depth must be 1 to 64")
    if not 1 <= config.screening.clamd_max_mib <= 4095 or not 1 <= config.screening.engine_timeout_s <= 3600:
        raise ConfigError("screening.clamd_max_mib must be 1 to 4095, screening.engine_timeout_s 1 to 3600")
    if config.keys.source == "command" and not config.keys.command:
        raise ConfigError("keys.command must name the program that prints the key")
    for exception in config.unsafe_plaintext:
        _check_exception(exception, today)


def _check_sessions(sessions: SessionsSection, names: tuple[str, ...]) -> None:
    for name, least, most in (
        ("idle_timeout_s", 60, 28_800),
        ("max_age_s", 300, 86_400),
        ("link_expires_s", 60, 604_800),
        ("proof_max_age_s", 60, 3600),
    ):
        if not least <= getattr(sessions, name) <= most:
            raise ConfigError(f"sessions.{name} must be {least} to {most}")
    domain = sessions.passkey_domain
    if domain and not any(name == domain or name.endswith(f".{domain}") for name in (*names, "localhost")):
        raise ConfigError("sessions.passkey_domain must be one of https.names, or a domain that one of them ends in")


def _check_people(people: PeopleSection) -> None:
    for name, least, most in (("share_max_s", 3600, 31_622_400), ("break_glass_s", 300, 86_400)):
        if not least <= getattr(people, name) <= most:
            raise ConfigError(f"people.{name} must be {least} to {most}")


def _check_trail(trail: TrailSection) -> None:
    for name in ("checkpoint_interval_s", "timestamp_interval_s"):
        if not 0 < getattr(trail, name) < inf:
            raise ConfigError(f"trail.{name} must be greater than 0 and finite")
    if trail.timestamp_url and not _AUTHORITY_URL.fullmatch(trail.timestamp_url):
        raise ConfigError("trail.timestamp_url must begin with http:// or https:// and name a host, without a user")


_AUTHORITY_URL = re.compile(r"https?://([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[!-\"$-~]*)?")
_HOST_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")


def _check_https(https: HttpsSection) -> None:
    if not 0 <= https.workers <= 64:
        raise ConfigError("https.workers must be 0 to 64")
    if not 1 <= https.threads <= 256:
        raise ConfigError("https.threads must be 1 to 256")
    if not 0 < https.drain_timeout_s < inf:
        raise ConfigError("https.drain_timeout_s must be greater than 0 and finite")
    for name in https.names:
        if len(name) > 253 or not _HOST_NAME.fullmatch(name):
            raise ConfigError("https.names holds host names in lower case, for example pacs.hospital.example")


def _check_jwt(jwt: JwtSection) -> None:
    if not jwt.issuer:
        if jwt.audience or jwt.keys:
            raise ConfigError("jwt.issuer must be set: what the claim `iss` of the provider's tokens is")
        return
    if not jwt.audience or not jwt.keys:
        raise ConfigError("jwt.audience and jwt.keys must be set: whom tokens are for, and the provider's public keys")
    if not jwt.algorithms:
        raise ConfigError("jwt.algorithms must name one at least")
    if not jwt.rights_claim:
        raise ConfigError("jwt.rights_claim must name a claim: a token without rights may do nothing")
    if not 0 <= jwt.leeway_s <= 300:
        raise ConfigError("jwt.leeway_s must be 0 to 300")
    if not 0 < jwt.max_lifetime_s <= 86400:
        raise ConfigError("jwt.max_lifetime_s must be greater than 0, and 86400 at most")


def _check_exception(exception: UnsafePlaintext, today: date) -> None:
    if not exception.reason.strip():
        raise ConfigError("unsafe_plaintext.reason must say why this peer cannot use TLS")
    try:
        network = ipaddress.ip_network(exception.addresses)
    except ValueError as error:
        raise ConfigError(f"unsafe_plaintext.addresses: {error}") from None
    if network.num_addresses > 65536:
        raise ConfigError("unsafe_plaintext.addresses is wider than a /16: name the modality's own range")
    _address(exception.bind, "unsafe_plaintext.bind")
    if exception.expires - today > MAX_EXCEPTION_SPAN:
        raise ConfigError(f"unsafe_plaintext.expires is more than {MAX_EXCEPTION_SPAN.days} days ahead")


def _address(text: str, key: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ConfigError(f"{key} must be an IP address, for example {LOOPBACK}") from None


def is_loopback(address: str) -> bool:
    """Whether an address (numeric) stays on this machine."""
    return ipaddress.ip_address(address).is_loopback
