"""The scope as a TOML file: every key, what it may be, and what to do about one that is not. Pure."""

from __future__ import annotations

import datetime as dt
import difflib
import re
import tomllib
from collections.abc import Callable, Iterable
from ipaddress import ip_network
from typing import Final, TypeVar

from strongroom.errors import ConfigError
from strongroom.probe.model import Level
from strongroom.probe.permits.scope import (
    CALLED_DEFAULT,
    CALLING_DEFAULT,
    DICOM_PORTS,
    HTTP_PORTS,
    NEIGHBOUR_PORTS,
    Network,
    Ownership,
    Posture,
    Rates,
    Reach,
    Scope,
    ScopeTarget,
    Vantage,
    Window,
    reach_of,
)
from strongroom.types import AeTitle

MAX_SCOPE_BYTES: Final = 1 << 20
MAX_RANGE: Final = 65_536
MAX_ADDRESSES: Final = 131_072
MAX_PORTS: Final = 64
MAX_WINDOW_DAYS: Final = 366
MAX_CONNECTIONS: Final = 100
MIN_INTERVAL_S: Final = 0.1

CONSENTS: Final = (
    "private_addresses",
    "guess_titles",
    "default_credentials",
    "idle",
    "write_canary",
)

KEYS: Final[dict[str, tuple[str, ...]]] = {
    "": ("format", "name", "level", "vantage", "authorisation", "window", "rates", "consent", "target"),
    "authorisation": ("by", "contact", "reference"),
    "window": ("start", "end", "daily_from", "daily_until"),
    "rates": (
        "interval_s",
        "connections_per_target",
        "targets_at_once",
        "connect_s",
        "answer_s",
        "connection_s",
        "max_received_bytes",
    ),
    "consent": CONSENTS,
    "target": (
        "name",
        "addresses",
        "host",
        "exclude",
        "no_modalities",
        "dicom_ports",
        "http_ports",
        "dicomweb_roots",
        "neighbour_ports",
        "called_title",
        "calling_title",
        "client_certificate",
        "client_key",
        "posture",
        "ownership",
    ),
}
"""Every key that there is, by table."""

MAX_ROOTS: Final = 8

_PATH: Final = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,99}){1,12}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
_HOST: Final = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
)

T = TypeVar("T")


class _Table:
    """One table of the file. Every method raises ConfigError that names the key and says what to write."""

    def __init__(self, name: str, value: object) -> None:
        if not isinstance(value, dict):
            raise ConfigError(f"scope: {name} has to be a table: write [{name}]")
        self._name, self._values = name, value
        known = KEYS["target" if name.startswith("target") else name]
        for key in value:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"it may have {', '.join(known)}"
                raise ConfigError(f"scope: {self._path(key)} is no key: take it out, or correct it; {hint}")

    def _path(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key

    def wrong(self, key: str, advice: str) -> ConfigError:
        """An error about ``key``."""
        return ConfigError(f"scope: {self._path(key)}: {advice}")

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._values

    def text(self, key: str, default: str | None = None, advice: str = "write a text in quotes") -> str:
        """A text on one line; without a default it must be there and say something."""
        value = self._values.get(key, default)
        if not isinstance(value, str) or not (value.strip() or default == "") or not value.isprintable():
            raise self.wrong(key, advice)
        if len(value) > 256:
            raise self.wrong(key, "use at most 256 characters")
        return value.strip()

    def word(self, key: str, words: type[T] | Callable[[str], T], allowed: Iterable[str], default: str) -> T:
        """One of a few words."""
        allowed = tuple(allowed)
        value = self._values.get(key, default)
        if value not in allowed:
            raise self.wrong(key, "write one of " + ", ".join(f'"{word}"' for word in allowed if word))
        return words(str(value))  # type: ignore[call-arg]  # an enumeration

    def flag(self, key: str) -> bool:
        """true or false; false by default."""
        value = self._values.get(key, False)
        if not isinstance(value, bool):
            raise self.wrong(key, "write true or false, without quotes")
        return value

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A number within bounds; a whole one if the default is."""
        value = self._values.get(key, default)
        whole = isinstance(default, int)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not low <= value <= high:
            raise self.wrong(key, f"write a {'whole ' if whole else ''}number from {low:g} to {high:g}")
        return value

    def time(self, key: str) -> dt.datetime:
        """A date and time with its zone."""
        value = self._values.get(key)
        if not isinstance(value, dt.datetime) or value.tzinfo is None:
            raise self.wrong(key, "write a date and time with its time zone, without quotes: 2026-11-22T20:00:00+01:00")
        return value

    def time_of_day(self, key: str) -> dt.time | None:
        """A time of day, or None."""
        value = self._values.get(key)
        if value is not None and not isinstance(value, dt.time):
            raise self.wrong(key, "write a time of day, without quotes: 22:00:00")
        return value

    def ports(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """Port numbers, each once."""
        value = self._values.get(key, list(default))
        if (
            not isinstance(value, list)
            or len(value) > MAX_PORTS
            or not all(isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65536 for port in value)
        ):
            raise self.wrong(key, f"write a list of at most {MAX_PORTS} port numbers: [104, 11112]")
        return tuple(dict.fromkeys(value))

    def paths(self, key: str) -> tuple[str, ...]:
        """Absolute paths of URLs without a query, each once; none by default."""
        value = self._values.get(key, [])
        if (
            not isinstance(value, list)
            or len(value) > MAX_ROOTS
            or not all(isinstance(each, str) and _PATH.fullmatch(each) for each in value)
        ):
            raise self.wrong(key, f'write a list of at most {MAX_ROOTS} paths: ["/pacs/dicom-web"]')
        return tuple(dict.fromkeys(value))

    def networks(self, key: str) -> tuple[Network, ...]:
        """Addresses and ranges."""
        value = self._values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.wrong(key, 'write a list of addresses and ranges in quotes: ["10.0.0.5", "10.0.1.0/24"]')
        return tuple(self._network(key, each) for each in value)

    def _network(self, key: str, text: str) -> Network:
        try:
            return ip_network(text, strict=True)
        except ValueError as error:
            if "host bits" in str(error):
                right = ip_network(text, strict=False)
                raise self.wrong(key, f'{text} is not the beginning of a range: write "{right}"') from None
            raise self.wrong(key, f'"{text}" is no address: names go into host, ranges are 10.0.0.0/24') from None

    def table(self, key: str) -> _Table:
        """A table in this one; an empty one if it is not there."""
        return _Table(key, self._values.get(key, {}))

    def tables(self, key: str) -> list[_Table]:
        """An array of tables in this one."""
        value = self._values.get(key)
        if not isinstance(value, list) or not value:
            raise self.wrong(key, f"name at least one target: write [[{key}]]")
        return [_Table(f"{key} {number}", each) for number, each in enumerate(value, 1)]


def parse_scope(raw: bytes) -> Scope:
    """Return the scope in a TOML file. Raises ConfigError, which names the key and says what to do."""
    if len(raw) > MAX_SCOPE_BYTES:
        raise ConfigError(f"scope: the file is larger than {MAX_SCOPE_BYTES} bytes")
    try:
        values = tomllib.loads(raw.decode())
    except (ValueError, RecursionError) as error:  # of which those of tomllib and of the decoder are
        raise ConfigError(f"scope: the file is no TOML: {error}") from None
    root = _Table("", values)
    if values.get("format") != 1:
        raise root.wrong("format", "write format = 1; this version knows no other")
    authorisation = root.table("authorisation")
    targets = tuple(_target(table) for table in root.tables("target"))
    level = root.word("level", _level, ("L0", "L1", "L2", "L3"), "L1")
    consent = root.table("consent")
    consents = frozenset(key for key in CONSENTS if consent.flag(key))
    scope = Scope(
        name=root.text("name", advice="give the test a name"),
        authorised_by=authorisation.text("by", advice="say who authorises this test: name and role"),
        contact=authorisation.text("contact", advice="say whom to call if something goes wrong during the test"),
        reference=authorisation.text("reference", ""),
        window=_window(root.table("window")),
        targets=targets,
        level=level,
        vantage=root.word("vantage", Vantage, Vantage, Vantage.LAN),
        rates=_rates(root.table("rates"), targets),
        consents=consents,
    )
    _require_consistent(root, consent, scope)
    return scope


def _level(text: str) -> Level:
    return Level(int(text[1:]))


def _window(table: _Table) -> Window:
    window = Window(
        table.time("start"), table.time("end"), table.time_of_day("daily_from"), table.time_of_day("daily_until")
    )
    if not window.start < window.end:
        raise table.wrong("end", "has to be later than start")
    if window.end - window.start > dt.timedelta(days=MAX_WINDOW_DAYS):
        raise table.wrong("end", f"at most {MAX_WINDOW_DAYS} days after start: sign a new scope then")
    if (window.daily_from is None) != (window.daily_until is None):
        raise table.wrong("daily_from", "give both daily_from and daily_until, or neither")
    if window.daily_from is not None and window.daily_from == window.daily_until:
        raise table.wrong("daily_until", "has to be another time than daily_from")
    return window


def _rates(table: _Table, targets: tuple[ScopeTarget, ...]) -> Rates:
    default = Rates()
    at_home = all(reach_of(network) is Reach.LOOPBACK for target in targets for network in target.networks)
    return Rates(
        interval_s=table.number("interval_s", default.interval_s, 0.0 if at_home else MIN_INTERVAL_S, 3600.0),
        connections_per_target=int(
            table.number("connections_per_target", default.connections_per_target, 1, MAX_CONNECTIONS)
        ),
        targets_at_once=int(table.number("targets_at_once", default.targets_at_once, 1, 256)),
        connect_s=table.number("connect_s", default.connect_s, 0.1, 30.0),
        answer_s=table.number("answer_s", default.answer_s, 0.1, 60.0),
        connection_s=table.number("connection_s", default.connection_s, 1.0, 300.0),
        max_received_bytes=int(table.number("max_received_bytes", default.max_received_bytes, 1 << 16, 1 << 26)),
    )


def _target(table: _Table) -> ScopeTarget:
    name = table.text("name", advice="give the target a name of letters, digits, spaces, points and hyphens")
    if not _NAME.fullmatch(name):
        raise table.wrong("name", "use at most 64 letters, digits, spaces, points, hyphens and underscores")
    target = ScopeTarget(
        name=name,
        networks=table.networks("addresses"),
        host=table.text("host", "").lower(),
        excluded=table.networks("exclude"),
        dicom_ports=table.ports("dicom_ports", DICOM_PORTS),
        http_ports=table.ports("http_ports", HTTP_PORTS),
        dicomweb_roots=table.paths("dicomweb_roots"),
        neighbour_ports=table.ports("neighbour_ports", NEIGHBOUR_PORTS),
        called=_title(table, "called_title", CALLED_DEFAULT),
        calling=_title(table, "calling_title", CALLING_DEFAULT),
        certificate=table.text("client_certificate", ""),
        certificate_key=table.text("client_key", ""),
        posture=table.word("posture", Posture, Posture, Posture.UNKNOWN),
        ownership=table.word("ownership", Ownership, Ownership, Ownership.NONE),
    )
    _require_addresses(table, target)
    if bool(target.certificate) != bool(target.certificate_key):
        raise table.wrong("client_key", "give both client_certificate and client_key, or neither")
    if target.host and not _HOST.fullmatch(target.host):
        raise table.wrong("host", "write one host name without a scheme or a port: pacs.example.org")
    return target


def _title(table: _Table, key: str, default: str) -> str:
    try:
        return AeTitle.parse(table.text(key, default))
    except ConfigError as error:
        raise table.wrong(key, str(error)) from None


def _require_addresses(table: _Table, target: ScopeTarget) -> None:
    """Raise ConfigError if the addresses are none, too many, or of a kind that needs more said."""
    if not target.networks:
        hint = f": all that {target.host} may resolve to" if target.host else ""
        raise table.wrong("addresses", "list the addresses of the target" + hint)
    for network in target.networks:
        if network.num_addresses > MAX_RANGE:
            raise table.wrong("addresses", f"{network} has more than {MAX_RANGE} addresses: write smaller ranges")
        reach = reach_of(network)
        if reach is Reach.UNUSABLE:
            raise table.wrong("addresses", f"{network} holds addresses that are nobody's, or of several kinds")
        if reach is Reach.PUBLIC and network.num_addresses > 1:
            raise table.wrong("addresses", f"{network} is public: list single addresses, each has to be proved yours")
        if reach is Reach.PUBLIC and target.ownership is Ownership.NONE:
            raise table.wrong("ownership", f'{network} is public: write "dns" or "token", and lay the proof there')
    if target.ownership is Ownership.DNS and not target.host:
        raise table.wrong("host", "a proof in DNS needs the name that the address itself has (PTR): write it here")
    if not target.is_single and not table.flag("no_modalities"):
        raise table.wrong(
            "no_modalities",
            "a range may hold scanners and consoles, which are fragile: list those under exclude, then write true",
        )
    if next(target.addresses(), None) is None:
        raise table.wrong("exclude", "leaves no address of the target")


def _require_consistent(root: _Table, consent: _Table, scope: Scope) -> None:
    """Raise ConfigError for what no single key can be blamed for."""
    names = [target.name for target in scope.targets]
    if len(set(names)) < len(names):
        raise root.wrong("target", "two targets have the same name: give each its own")
    networks = [network for target in scope.targets for network in target.networks]
    if sum(network.num_addresses for network in networks) > MAX_ADDRESSES:
        raise root.wrong("target", f"more than {MAX_ADDRESSES} addresses in all: write several scopes")
    private = next((network for network in networks if reach_of(network) is Reach.PRIVATE), None)
    if private is not None and "private_addresses" not in scope.consents:
        raise consent.wrong(
            "private_addresses",
            f"{private} may be anybody's network: write true once you have made sure that it is the one you mean",
        )
    if scope.level is Level.CANARY and "write_canary" not in scope.consents:
        raise consent.wrong(
            "write_canary", "L3 writes synthetic objects into the archive: write true, or a lower level"
        )
