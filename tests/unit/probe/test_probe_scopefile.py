"""The scope file: what it may say, and what an operator is told about what it may not."""

from __future__ import annotations

import datetime as dt
import re
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.probe_session import scope_text
from strongroom.errors import ConfigError
from strongroom.probe.model import Level
from strongroom.probe.permits.briefing import describe, plan_json
from strongroom.probe.permits.scope import DICOM_PORTS, HTTP_PORTS, NEIGHBOUR_PORTS, Rates, Reach, Window, reach_of
from strongroom.probe.permits.scopefile import KEYS, MAX_SCOPE_BYTES, parse_scope
from strongroom.probe.permits.scopetemplate import scope_template
from strongroom.probe.steps import STEPS

NOW = dt.datetime(2026, 11, 22, 12, 34, tzinfo=dt.UTC)
GUIDE = Path(__file__).parents[3] / "docs" / "probe.md"


def test_the_template_asks_for_who_authorises_and_is_a_scope_for_this_host_then() -> None:
    text = scope_template(NOW)
    with pytest.raises(ConfigError, match=r"authorisation\.by: say who authorises this test"):
        parse_scope(text.encode())
    text = text.replace('by = ""', 'by = "me"')
    with pytest.raises(ConfigError, match=r"authorisation\.contact: say whom to call"):
        parse_scope(text.encode())
    scope = parse_scope(text.replace('contact = ""', 'contact = "me"').encode())
    assert scope.level is Level.ASSOCIATE
    assert scope.consents == frozenset()
    assert [str(address) for _, address in scope.addresses()] == ["127.0.0.1"]
    assert scope.window.is_open(NOW)
    assert not scope.window.is_open(NOW + dt.timedelta(days=1))


def test_what_the_template_shows_as_defaults_are_the_defaults() -> None:
    text = scope_template(NOW).replace('by = ""', 'by = "me"').replace('contact = ""', 'contact = "me"')
    shown = re.sub(r"^# (?=(?!strongroom|host|daily|reference|posture|ownership)[a-z_]+ = )", "", text, flags=re.M)
    assert shown.count("\n#") < text.count("\n#")
    assert parse_scope(shown.encode()) == parse_scope(text.encode())


@pytest.mark.parametrize("table", sorted(KEYS))
def test_every_key_is_in_the_template_and_in_the_guide(table: str) -> None:
    template, guide = scope_template(NOW), GUIDE.read_text()
    for key in KEYS[table]:
        assert re.search(rf"^(# )?{key} = |^\[+{key}\]+$", template, re.M), key
        assert f"`{key}`" in guide, key


def test_a_scope_says_what_it_says() -> None:
    scope = parse_scope(
        scope_text(
            """
            addresses = ["10.1.0.0/30", "10.1.0.9"]
            exclude = ["10.1.0.1"]
            no_modalities = true
            dicom_ports = [104, 104, 2762]
            http_ports = []
            neighbour_ports = [445]
            dicomweb_roots = ["/pacs/rs", "/v1/projects/a/dicomStores/b.c/dicomWeb"]
            called_title = "ARCHIVE"
            calling_title = "CT1"
            client_certificate = "c.pem"
            client_key = "k.pem"
            posture = "mutual-tls"
            host = "PACS.example.org"
            """,
            head='level = "L3"\nvantage = "vpn"',
            window="start = 2026-11-22T20:00:00+01:00\nend = 2026-11-30T06:00:00+01:00\n"
            "daily_from = 22:00:00\ndaily_until = 05:00:00",
            rates="interval_s = 2\nconnections_per_target = 7\ntargets_at_once = 3\nmax_received_bytes = 65536\n"
            "connect_s = 1.5\nanswer_s = 2.5\nconnection_s = 3.5",
            consent="private_addresses = true\nwrite_canary = true\nidle = true",
        )
    )
    (target,) = scope.targets
    assert [str(address) for address in target.addresses()] == ["10.1.0.2", "10.1.0.9"]
    assert not target.covers(ip_address("10.1.0.1"))
    assert (target.ports, target.neighbour_ports) == ((104, 2762), (445,))
    assert target.dicomweb_roots == ("/pacs/rs", "/v1/projects/a/dicomStores/b.c/dicomWeb")
    assert (target.called, target.calling, target.titles_named) == ("ARCHIVE", "CT1", True)
    assert (target.certificate, target.certificate_key) == ("c.pem", "k.pem")
    assert (target.host, target.posture, target.is_single) == ("pacs.example.org", "mutual-tls", False)
    assert (scope.level, scope.vantage) == (Level.CANARY, "vpn")
    assert scope.rates == Rates(2, 7, 3, 1.5, 2.5, 3.5, 65536)
    assert scope.consents == {"private_addresses", "write_canary", "idle"}
    assert (scope.authorised_by, scope.contact) == ("Dr. Example, CISO", "+1 555 0100")


def test_the_defaults_are_gentle() -> None:
    scope = parse_scope(scope_text())
    (target,) = scope.targets
    assert (scope.rates.interval_s, scope.rates.connections_per_target, scope.level) == (1.0, 100, Level.ASSOCIATE)
    assert (target.dicom_ports, target.http_ports) == (DICOM_PORTS, HTTP_PORTS)
    assert target.neighbour_ports == NEIGHBOUR_PORTS
    assert (target.called, target.calling, target.titles_named) == ("ANY-SCP", "STRONGROOM-PRB", False)


PRIVATE = "private_addresses = true"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"\xff", "is no TOML"),
        (b"a = ", "is no TOML"),
        (b"a = 1\n" * MAX_SCOPE_BYTES, "larger than"),
        (b"a = " + b"[" * 20_000, "is no TOML"),
        (b"a = " + b"9" * 20_000, "is no TOML"),
        (b"", "format: write format = 1"),
        (scope_text(head="levle = 'L0'"), "levle is no key: take it out, or correct it; did you mean level"),
        (scope_text("addres = []"), "target 1.addres is no key.*did you mean addresses"),
        (scope_text(rates="zzz = 1"), "rates.zzz is no key.*it may have interval_s"),
        (scope_text('dicomweb_roots = ["pacs"]'), "dicomweb_roots: write a list of at most 8 paths"),
        (scope_text('dicomweb_roots = ["/a/../b"]'), "dicomweb_roots: write a list"),
        (scope_text('dicomweb_roots = ["/studies?x=1"]'), "dicomweb_roots: write a list"),
        (scope_text(head="level = 'L4'"), 'level: write one of "L0", "L1"'),
        (scope_text(head="level = 1"), 'level: write one of "L0", "L1"'),
        (scope_text(head="vantage = 'moon'"), 'vantage: write one of "loopback"'),
        (scope_text(window="start = 2026-11-22T20:00:00\nend = 2026-11-23T20:00:00"), "start: .*with its time zone"),
        (scope_text(window="start = 2026-11-22\nend = 2026-11-23"), "start: .*with its time zone"),
        (scope_text(window="start = '2026-11-22T20:00:00Z'\nend = 2026-11-23T20:00:00Z"), "without quotes"),
        (scope_text(window="start = 2026-11-23T20:00:00Z\nend = 2026-11-22T20:00:00Z"), "end: has to be later"),
        (scope_text(window="start = 2026-11-23T20:00:00Z\nend = 2028-11-22T20:00:00Z"), "end: at most 366 days"),
        (
            scope_text(window="start = 2026-11-22T20:00:00Z\nend = 2026-11-23T20:00:00Z\ndaily_from = 22:00:00"),
            "give both",
        ),
        (scope_text(rates="interval_s = -1"), "interval_s: write a number from 0 to 3600"),
        (scope_text(rates="interval_s = true"), "interval_s: write a number"),
        (scope_text(rates="interval_s = nan"), "interval_s: write a number"),
        (scope_text(rates="connections_per_target = 101"), "write a whole number from 1 to 100"),
        (scope_text(rates="connections_per_target = 1.5"), "write a whole number from 1 to 100"),
        (scope_text("addresses = ['10.0.0.5']", rates="interval_s = 0", consent=PRIVATE), "number from 0.1"),
        (scope_text(consent="idle = 1"), "consent.idle: write true or false"),
        (scope_text("dicom_ports = [0]"), "dicom_ports: write a list of at most 64 port numbers"),
        (scope_text("dicom_ports = [true]"), "dicom_ports: write a list"),
        (scope_text(f"dicom_ports = {list(range(1, 66))}"), "dicom_ports: write a list"),
        (scope_text("called_title = 'SEVENTEEN LETTERS'"), "called_title: an AE title has 1 to 16"),
        (scope_text("client_key = 'k'"), "give both client_certificate and client_key"),
        (scope_text("host = 'https://a.example'"), "host: write one host name"),
        (scope_text("host = 'a..example'"), "host: write one host name"),
        (scope_text("addresses = []"), "addresses: list the addresses"),
        (scope_text("addresses = []\nhost = 'a.example'"), "list the addresses of the target: all that a.example may"),
        (scope_text("addresses = ['a.example']"), '"a.example" is no address: names go into host'),
        (scope_text("addresses = ['127.0.0.5/24']"), 'write "127.0.0.0/24"'),
        (scope_text("addresses = ['127.0.0.0/8']\nno_modalities = true"), "more than 65536 addresses"),
        (scope_text("addresses = ['::1/64']"), 'write "::/64"'),
        (scope_text("addresses = ['127.0.0.0/30']"), "no_modalities: .*list those under exclude, then write true"),
        (scope_text("addresses = ['127.0.0.1', '127.0.0.2']\nexclude = ['127.0.0.0/30']"), "leaves no address"),
        (scope_text("addresses = ['10.0.0.5']"), "consent.private_addresses: 10.0.0.5/32 may be anybody's network"),
        (scope_text("addresses = ['8.8.8.8']"), 'ownership: 8.8.8.8/32 is public: write "dns" or "token"'),
        (scope_text("addresses = ['8.8.8.8']\nownership = 'dns'"), "host: a proof in DNS needs the name"),
        (scope_text("addresses = ['8.8.8.0/24']\nownership = 'token'"), "list single addresses"),
        (scope_text("addresses = ['224.0.0.1']"), "nobody's"),
        (scope_text("addresses = ['0.0.0.0']"), "nobody's"),
        (scope_text("addresses = ['::ffff:10.0.0.1']"), "nobody's"),
        (scope_text(head="level = 'L3'"), "consent.write_canary: L3 writes synthetic objects"),
        (scope_text("addresses = ['::1']\n[[target]]\nname = 'pacs'\naddresses = ['127.0.0.2']"), "the same name"),
        (scope_text().replace(b"[[target]]", b"[target]"), "target: name at least one target"),
        (scope_text().replace(b'name = "pacs"', b'name = "../../etc"'), "target 1.name: use at most 64 letters"),
        (scope_text().replace(b'name = "pacs"', b'name = "a\\nb"'), "target 1.name: "),
        (scope_text().replace(b'name = "a test"', b'name = "a\\u001b[2Jtest"'), "name: give the test a name"),
        (scope_text().replace(b"[window]", b"[windows]"), "windows is no key.*did you mean window"),
        (scope_text(head="rates = 5").replace(b"[rates]", b""), "rates has to be a table"),
        (scope_text().split(b"[[target]]")[0], "target: name at least one target"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_says_what_to_do(raw: bytes, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_scope(raw)


@given(st.binary(max_size=300))
def test_anything_is_a_scope_or_an_error_that_was_meant(raw: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_scope(b"format = 1\n" + raw)


@pytest.mark.parametrize(
    ("network", "reach"),
    [
        ("127.0.0.1", Reach.LOOPBACK), ("::1", Reach.LOOPBACK), ("10.0.0.0/8", Reach.PRIVATE),
        ("172.31.255.255", Reach.PRIVATE), ("172.32.0.0", Reach.PUBLIC), ("192.168.1.0/24", Reach.PRIVATE),
        ("169.254.169.254", Reach.PRIVATE), ("100.64.0.1", Reach.PRIVATE), ("fd00::/112", Reach.PRIVATE),
        ("fe80::1", Reach.PRIVATE), ("9.255.255.255", Reach.PUBLIC), ("8.0.0.0/6", Reach.UNUSABLE),
        ("2001:db8::1", Reach.PUBLIC), ("0.0.0.0/0", Reach.UNUSABLE), ("::/0", Reach.UNUSABLE),
        ("255.255.255.255", Reach.UNUSABLE), ("::ffff:127.0.0.1", Reach.UNUSABLE), ("64:ff9b::a00:1", Reach.UNUSABLE),
        ("ff02::1", Reach.UNUSABLE), ("::", Reach.UNUSABLE), ("2002:a00:1::", Reach.UNUSABLE),
    ],
)  # fmt: skip
def test_whose_an_address_can_be(network: str, reach: Reach) -> None:
    assert reach_of(ip_network(network)) is reach


def test_a_port_in_two_targets_is_probed_once_as_the_first() -> None:
    raw = scope_text(
        "addresses = ['127.0.0.4']\n[[target]]\nname = 'rest'\naddresses = ['127.0.0.0/29']\nno_modalities = true"
    )
    scope = parse_scope(raw)
    found = [(target.name, str(address)) for target, address in scope.addresses()]
    assert found == [("pacs", "127.0.0.4"), *(("rest", f"127.0.0.{n}") for n in (1, 2, 3, 5, 6))]
    assert "NOTHING IS LEFT" in "\n".join(describe(scope))


def test_two_systems_on_one_address_are_probed_each_with_its_ports_and_the_signer_is_told_of_those_they_share() -> None:
    raw = scope_text(
        "addresses = ['127.0.0.1']\ndicom_ports = [104, 30304]\nhttp_ports = []\n"
        "neighbour_ports = [389, 30242]\n[[target]]\nname = 'orthanc'\n"
        "addresses = ['127.0.0.1', '127.0.0.2']\ndicom_ports = [30204]\nhttp_ports = [104, 30242]\n"
        "neighbour_ports = [389, 5432, 30304]"
    )
    scope = parse_scope(raw)
    found = [(each.name, str(at), each.ports, each.neighbour_ports) for each, at in scope.addresses()]
    assert found == [
        ("pacs", "127.0.0.1", (104, 30304), (389, 30242)),
        ("orthanc", "127.0.0.1", (30204, 30242), (5432,)),
        ("orthanc", "127.0.0.2", (30204, 104, 30242), (389, 5432, 30304)),
    ]
    told = "\n".join(describe(scope))
    assert "at addresses that pacs has too, 104 tested as pacs and not again" in told
    assert "NOTHING IS LEFT" not in told
    assert [each["tested_as"] for each in plan_json(scope, scope.targets)["targets"]] == [{}, {"pacs": [104]}]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "addresses",
    ['"10.0.0.5", "10.0.0.5"', '"10.0.0.4/30", "10.0.0.5"', '"::1", "::1%lo"'],
)
def test_an_address_that_is_listed_twice_is_probed_once(addresses: str) -> None:
    """Two sessions would be two connections at a time, and twice the budget."""
    raw = scope_text(f"addresses = [{addresses}]\nno_modalities = true", consent="private_addresses = true")
    found = [int(address) for _, address in parse_scope(raw).addresses()]
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("time", "is_open"),
    [("21:59:59", False), ("22:00:00", True), ("23:30:00", True), ("04:59:59", True), ("05:00:00", False)],
)
def test_a_daily_window_may_go_over_midnight_in_the_zone_of_its_start(time: str, is_open: bool) -> None:
    zone = dt.timezone(dt.timedelta(hours=1))
    window = Window(
        dt.datetime(2026, 11, 1, tzinfo=zone), dt.datetime(2026, 12, 1, tzinfo=zone), dt.time(22), dt.time(5)
    )
    now = dt.datetime.fromisoformat(f"2026-11-22T{time}+01:00").astimezone(dt.UTC)
    assert window.is_open(now) is is_open
    left_s = window.left_s(now)
    assert (left_s > 0) is is_open
    if is_open:
        assert not window.is_open(now + dt.timedelta(seconds=left_s))
        assert window.is_open(now + dt.timedelta(seconds=left_s - 1))


def test_the_end_of_the_window_comes_before_that_of_the_day() -> None:
    start = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
    window = Window(start, start + dt.timedelta(hours=2), dt.time(0), dt.time(5))
    assert window.left_s(start + dt.timedelta(hours=1)) == 3600


def test_every_consent_that_a_step_needs_is_a_key() -> None:
    assert {step.consent for step in STEPS.values()} - {""} <= set(KEYS["consent"])
