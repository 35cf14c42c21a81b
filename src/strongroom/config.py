"""``config.toml`` -> one frozen tree. Parsed once; unknown keys are errors; nobody else reads files of settings or the environment.

Secure behaviour needs no key. Whatever weakens it is a key that begins with ``unsafe_``, carries a reason and an expiry,
and is recorded in the trail at every start.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from datetime import date
from pathlib import Path
from typing import Literal

import msgspec

from strongroom.errors import ConfigError

CONFIG_NAME = "config.toml"
LOOPBACK = "127.0.0.1"


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class ArchiveSection(_Section):
    """``[archive]``: who we are."""

    id: str
    aet: str = "STRONGROOM"


class DicomSection(_Section):
    """``[dicom]``: the DICOM listener, always TLS with a client certificate."""

    bind: str = LOOPBACK
    port: int = 2762
    tls_profile: Literal["bcp195", "bcp195-strict"] = "bcp195"
    private_storage_classes: tuple[str, ...] = ()


class HttpsSection(_Section):
    """``[https]``: where HTTPS will be served."""

    bind: str = LOOPBACK
    port: int = 8443


class IndexSection(_Section):
    """``[index]``: ``url`` empty = an SQLCipher file in the data directory; else a PostgreSQL URL."""

    url: str = ""
    cache_mib: int = 64


class KeysSection(_Section):
    """``[keys]``: where the master key is. ``path`` (file) is a directory outside the data directory."""

    source: Literal["file", "passphrase", "command"] = "file"
    path: str = ""
    command: tuple[str, ...] = ()


class TrailSection(_Section):
    """``[trail]``: signed checkpoints, written every interval in which something happened, and at stop."""

    checkpoint_interval_s: float = 60.0
    checkpoint_dirs: tuple[str, ...] = ()


class LimitsSection(_Section):
    """``[limits]``: every cap that a stranger can run into."""

    max_pdu_body_bytes: int = 262_144
    max_associations: int = 256
    max_associations_per_peer: int = 64
    max_associations_per_address: int = 128
    artim_timeout_s: float = 15.0
    idle_timeout_s: float = 300.0
    message_timeout_s: float = 3600.0
    min_receive_bytes_per_s: int = 4096
    tls_handshake_timeout_s: float = 10.0
    max_message_bytes: int = 64 * 2**30
    max_identifier_bytes: int = 2**20
    max_header_bytes: int = 4 * 2**20
    max_element_depth: int = 32
    max_element_count: int = 200_000
    max_element_value_bytes: int = 2**20
    max_inflate_ratio: int = 200
    max_query_results: int = 10_000
    max_retrieve_objects: int = 100_000


class UnsafePlaintext(_Section):
    """``[[unsafe_plaintext]]``: a listener with no TLS, for one old modality, from one address range, until one date."""

    peer: str
    addresses: str
    expires: date
    reason: str
    port: int
    bind: str = LOOPBACK


class Config(_Section):
    """The whole configuration of one archive."""

    archive: ArchiveSection
    dicom: DicomSection = DicomSection()
    https: HttpsSection = HttpsSection()
    index: IndexSection = IndexSection()
    keys: KeysSection = KeysSection()
    trail: TrailSection = TrailSection()
    limits: LimitsSection = LimitsSection()
    unsafe_plaintext: tuple[UnsafePlaintext, ...] = ()


class Home:
    """The directories of one archive. ``data`` holds only sealed bytes; keys are never below it."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.config = self.root / CONFIG_NAME
        self.data = self.root / "data"
        self.objects = self.data / "objects"
        self.index = self.data / "index.db"
        self.secrets = self.data / "secrets"
        self.peers = self.root / "peers"
        self.checkpoints = self.root / "checkpoints"
        self.lock = self.root / "serve.lock"

    @property
    def default_keys(self) -> Path:
        """A sibling of the home directory: whoever copies the home, or its disk, has no key."""
        return self.root.with_name(self.root.name + ".keys")


def load(home: Home) -> Config:
    """Return the checked configuration of ``home``. Raises ConfigError with what to change."""
    try:
        text = home.config.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"no archive in {home.root}: run `strongroom init --home {home.root}` first") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {home.config}: {error}") from None
    return parse(text, where=str(home.config))


def parse(text: str, *, where: str = CONFIG_NAME) -> Config:
    """Parse and check the text of a configuration file."""
    try:
        config = msgspec.convert(tomllib.loads(text), Config, strict=True)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{where}: {error}") from None
    _check(config)
    return config


def _check(config: Config) -> None:
    for section, listener in (("dicom", config.dicom), ("https", config.https)):
        if not 0 <= listener.port <= 65535:
            raise ConfigError(f"{section}.port must be 0 to 65535")
        _address(listener.bind, f"{section}.bind")
    for name in LimitsSection.__struct_fields__:
        if getattr(config.limits, name) <= 0:
            raise ConfigError(f"limits.{name} must be greater than 0")
    if not 4096 <= config.limits.max_pdu_body_bytes <= 2**24:
        raise ConfigError("limits.max_pdu_body_bytes must be 4096 to 16777216")
    if config.keys.source == "command" and not config.keys.command:
        raise ConfigError("keys.command must name the program that prints the key")
    for exception in config.unsafe_plaintext:
        _check_exception(exception)


def _check_exception(exception: UnsafePlaintext) -> None:
    if not exception.reason.strip():
        raise ConfigError("unsafe_plaintext.reason must say why this peer cannot use TLS")
    try:
        network = ipaddress.ip_network(exception.addresses)
    except ValueError as error:
        raise ConfigError(f"unsafe_plaintext.addresses: {error}") from None
    if network.num_addresses > 65536:
        raise ConfigError("unsafe_plaintext.addresses is wider than a /16: name the modality's own range")
    _address(exception.bind, "unsafe_plaintext.bind")


def _address(text: str, key: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ConfigError(f"{key} must be an IP address, for example {LOOPBACK}") from None


def is_loopback(address: str) -> bool:
    """Whether an address (numeric) stays on this machine."""
    return ipaddress.ip_address(address).is_loopback


def environment(name: str) -> str | None:
    """The only reader of the environment: ``STRONGROOM_HOME``, ``STRONGROOM_PASSPHRASE``, ``STRONGROOM_PASSCODE``."""
    return os.environ.get(name)
