"""config: what is not there is locked, what is unknown is an error, and what weakens says why and until when."""

from __future__ import annotations

import ast
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from harness.archives import config_text
from strongroom import config as module
from strongroom.app import key_source
from strongroom.config import Home, LimitsSection, environment, is_loopback, load, parse
from strongroom.errors import ConfigError

LEAST = '[archive]\nid = "a1"\n'
TODAY = datetime.now(UTC).date()
EXCEPTION = {
    "peer": "OLD_CT",
    "addresses": "192.0.2.0/24",
    "expires": TODAY + timedelta(days=366),
    "reason": "no TLS in its software",
    "port": 11112,
}


def with_exception(**change: object) -> str:
    return config_text({"unsafe_plaintext": [EXCEPTION | change]})


# --- the defaults


def test_what_is_not_there_is_locked() -> None:
    config = parse(LEAST)
    assert is_loopback(config.dicom.bind)
    assert is_loopback(config.https.bind)
    assert config.unsafe_plaintext == ()
    assert config.index.url == ""
    assert config.keys.source == "file"
    assert config.dicom.tls_profile == "bcp195"


def test_every_limit_has_a_default_that_is_a_limit() -> None:
    limits = parse(LEAST).limits
    for name in LimitsSection.__struct_fields__:
        assert 0 < getattr(limits, name) < 2**40, name


def test_the_configuration_cannot_be_changed_once_it_is_read() -> None:
    config = parse(LEAST)
    for section, name in ((config, "limits"), (config.limits, "max_associations"), (config.dicom, "bind")):
        with pytest.raises(AttributeError):
            setattr(section, name, None)


# --- what is refused


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "archive"),
        ("[archive]\n", "id"),
        (LEAST + "[dicom]\nprot = 1\n", "prot"),
        (LEAST + "[dicomm]\nport = 1\n", "dicomm"),
        (LEAST + 'aett = "X"\n', "aett"),
        (LEAST + "[limits]\nmax_asociations = 1\n", "max_asociations"),
        (LEAST + '[dicom]\nport = "2762"\n', "dicom.port must be a whole number, not text"),
        (LEAST + "[dicom]\nport = true\n", "dicom.port must be a whole number, not true or false"),
        (LEAST + "[limits]\nmax_pdu = 1\n", "unknown key limits.max_pdu: did you mean max_pdu_body_bytes[?] See docs"),
        (LEAST + "[limitz]\n", "unknown key limitz: did you mean limits[?]"),
        (LEAST + "[limits]\nqqqqq = 1\n", "unknown key limits.qqqqq[.] See docs"),
        (
            LEAST + "[[unsafe_plaintext]]\nreasons = 1\n",
            "unknown key .*reasons: did you mean reason[?]",
        ),
        (LEAST + '[trail]\ncheckpoint_dirs = "/mnt"\n', "trail.checkpoint_dirs must be a list, not text"),
        (LEAST + "[dicom]\nport = 65536\n", "0 to 65535"),
        (LEAST + "[https]\nport = -1\n", "0 to 65535"),
        (LEAST + "[https]\npublic_port = 70000\n", "https.public_port must be 0 to 65535"),
        (LEAST + "[dicom]\nworkers = 65\n", "dicom.workers must be 0 to 64"),
        (LEAST + "[dicom]\nworkers = -1\n", "dicom.workers must be 0 to 64"),
        (LEAST + "[screening]\nclamd_max_mib = 4096\n", "screening.clamd_max_mib must be 1 to 4095"),
        (LEAST + "[screening]\nengine_timeout_s = 0.5\n", "screening.engine_timeout_s 1 to 3600"),
        (LEAST + '[screening]\nengine_failure = "ignore"\n', "screening.engine_failure cannot be 'ignore'"),
        (LEAST + '[screening]\nyara_rules = "a.yar"\n', "screening.yara_rules must be a list, not text"),
        (LEAST + '[dicom]\nbind = "localhost"\n', "IP address"),
        (LEAST + '[dicom]\nbind = "0.0.0.0:104"\n', "IP address"),
        (LEAST + '[https]\nbind = ""\n', "IP address"),
        (LEAST + '[dicom]\ntls_profile = "none"\n', "tls_profile"),
        (LEAST + "[dicom]\nunsafe_no_tls = true\n", "unsafe_no_tls"),
        (LEAST + '[keys]\nsource = "none"\n', "keys.source cannot be 'none'"),
        (LEAST + '[keys]\nsource = "command"\n', "keys.command"),
        (LEAST + "[limits]\nmax_pdu_body_bytes = 4095\n", "4096"),
        (LEAST + "[limits]\nmax_pdu_body_bytes = 16777217\n", "16777216"),
        (LEAST + "[trail]\ncheckpoint_interval_s = 0\n", "checkpoint_interval_s"),
        (LEAST + "[trail]\ncheckpoint_interval_s = nan\n", "checkpoint_interval_s"),
        (LEAST + "[index]\ncache_mib = 0\n", "cache_mib"),
        (LEAST + "[screening]\nrequest_days = 0\n", "request_days"),
        (LEAST + "[screening]\nrequest_days = 366\n", "request_days"),
        (LEAST + "[sessions]\nidle_timeout_s = 59\n", "sessions.idle_timeout_s must be 60 to 28800"),
        (LEAST + "[sessions]\nmax_age_s = inf\n", "sessions.max_age_s must be 300 to 86400"),
        (LEAST + "[sessions]\nproof_max_age_s = 3601\n", "sessions.proof_max_age_s must be 60 to 3600"),
        (
            LEAST + '[https]\nnames = ["pacs.example"]\n[sessions]\npasskey_domain = "other.example"\n',
            "sessions.passkey_domain must be one of https.names, or a domain that one of them ends in",
        ),
        (LEAST + "[sessions]\nlink_expires_s = nan\n", "sessions.link_expires_s must be 60 to 604800"),
        (LEAST + LEAST, "archive"),
        ("archive = 1", "archive must be a table, not a whole number"),
        ("[archive", "config.toml"),
        (LEAST + "\0", "config.toml"),
    ],
)
def test_what_does_not_hold_together_is_an_error_that_says_where(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse(text)


@pytest.mark.parametrize("name", LimitsSection.__struct_fields__)
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", '"many"'])
def test_no_limit_can_be_switched_off(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        parse(f"{LEAST}[limits]\n{name} = {value}\n")


@pytest.mark.parametrize("key", ["peer", "addresses", "expires", "reason", "port"])
def test_an_exception_without_its_facts_is_refused(key: str) -> None:
    left = {name: value for name, value in EXCEPTION.items() if name != key}
    with pytest.raises(ConfigError, match=key):
        parse(config_text({"unsafe_plaintext": [left]}))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": "  "}, "reason"),
        ({"addresses": "0.0.0.0/0"}, "/16"),
        ({"addresses": "10.0.0.0/15"}, "/16"),
        ({"addresses": "::/0"}, "/16"),
        ({"addresses": "192.0.2.1/24"}, "addresses"),
        ({"addresses": "everybody"}, "addresses"),
        ({"addresses": ""}, "addresses"),
        ({"bind": "all"}, "bind"),
        ({"expires": "never"}, "expires"),
        ({"tls": False}, "tls"),
    ],
)
def test_an_exception_is_narrow_or_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse(with_exception(**change))


def test_an_exception_that_holds_together_is_taken() -> None:
    (exception,) = parse(with_exception()).unsafe_plaintext
    assert (exception.peer, exception.port, exception.expires) == ("OLD_CT", 11112, EXCEPTION["expires"])
    assert is_loopback(exception.bind)


def test_an_exception_does_not_last() -> None:
    for expires in (date.max, TODAY + timedelta(days=400)):
        with pytest.raises(ConfigError, match="366 days"):
            parse(with_exception(expires=expires))
    text = with_exception(expires=date(2026, 1, 2))
    assert parse(text, today=date(2025, 1, 1)).unsafe_plaintext
    assert parse(text, today=date(2027, 1, 1)).unsafe_plaintext  # it is over: the listener stays closed
    with pytest.raises(ConfigError, match="366 days"):
        parse(text, today=date(2024, 12, 31))


def test_all_that_weakens_is_named_unsafe() -> None:
    """There is no switch that turns TLS, the trail or encryption off under another name."""
    suspicious = ("insecure", "disable", "no_", "allow", "skip", "trust", "plain", "anonymous", "verify")
    innocent = {("signatures", "trusted")}  # nobody gets in by it, and nothing is taken that is not taken without it
    for section in msgspec.structs.fields(module.Config):
        names = getattr(section.type, "__struct_fields__", ())
        for name in (section.name, *names):
            is_innocent = (section.name, name) in innocent or name.startswith("unsafe_")
            assert is_innocent or not any(word in name for word in suspicious), name


# --- files


def test_a_home_without_an_archive_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="strongroom init"):
        load(Home(tmp_path))


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot read"):
        load(Home(tmp_path))


def test_keys_lie_beside_the_home_never_in_it(tmp_path: Path) -> None:
    home = Home(tmp_path / "archive")
    assert not home.default_keys.is_relative_to(home.root)
    assert home.default_keys.parent == home.root.parent


@pytest.mark.parametrize("inside", ["data", "data/keys", "data/../data/keys"])
def test_keys_in_the_data_directory_are_refused(tmp_path: Path, inside: str) -> None:
    home = Home(tmp_path / "archive")
    config = parse(config_text({"keys": {"path": str(home.root / inside)}}))
    with pytest.raises(ConfigError, match="data directory"):
        key_source(home, config)


def test_a_link_into_the_data_directory_is_seen_through(tmp_path: Path) -> None:
    home = Home(tmp_path / "archive")
    (home.data / "keys").mkdir(parents=True)
    (tmp_path / "elsewhere").symlink_to(home.data / "keys")
    config = parse(config_text({"keys": {"path": str(tmp_path / "elsewhere")}}))
    with pytest.raises(ConfigError, match="data directory"):
        key_source(home, config)


# --- the environment


def test_the_environment_is_read_at_one_place_only() -> None:
    source = Path(module.__file__).parents[1]
    readers = set()
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb"):
                readers.add(path.relative_to(source).as_posix())
    assert readers == {"config/home.py"}


def test_a_variable_that_is_not_set_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRONGROOM_HOME", raising=False)
    assert environment("STRONGROOM_HOME") is None
    monkeypatch.setenv("STRONGROOM_HOME", "/srv/archive")
    assert environment("STRONGROOM_HOME") == "/srv/archive"


@pytest.mark.parametrize(
    ("address", "stays"), [("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("192.0.2.1", False)]
)
def test_loopback_is_told_from_the_rest(address: str, stays: bool) -> None:
    assert is_loopback(address) is stays
