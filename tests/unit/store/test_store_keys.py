"""keys: sources refuse what is unsafe, wrapped keys open only as what they are, and nothing shows a key."""

from __future__ import annotations

import base64
import os
import stat
import sys
from pathlib import Path

import pytest

from strongroom.errors import ConfigError, IntegrityError, NotFound, StorageUnavailable
from strongroom.store import keys
from strongroom.store.keys import (
    CommandKeySource,
    FileKeySource,
    KeyRing,
    PassphraseKeySource,
    SecretFiles,
    secret_master_id,
)

KEY = bytes(range(32))


@pytest.fixture
def source(tmp_path: Path) -> FileKeySource:
    return FileKeySource(tmp_path / "keys")


@pytest.fixture
def ring(source: FileKeySource) -> KeyRing:
    return KeyRing(source, source.create())


class TestFileKeySource:
    def test_a_key_is_made_private_and_loaded_again(self, source: FileKeySource, tmp_path: Path) -> None:
        one, other = source.create(), source.create()
        assert len(source.load(one)) == 32
        assert source.load(one) == source.load(one) != source.load(other)
        assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").iterdir()} == {0o600}
        assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == sorted([f"{one}.key", f"{other}.key"])

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
    def test_a_key_that_others_may_read_is_refused(self, source: FileKeySource, tmp_path: Path, mode: int) -> None:
        one = source.create()
        (tmp_path / "keys" / f"{one}.key").chmod(mode)
        with pytest.raises(ConfigError, match="chmod 600"):
            source.load(one)

    def test_a_directory_that_others_may_enter_is_refused(self, source: FileKeySource, tmp_path: Path) -> None:
        one = source.create()
        (tmp_path / "keys").chmod(0o750)
        for use in (lambda: source.load(one), source.create):
            with pytest.raises(ConfigError, match="chmod 700"):
                use()

    def test_a_missing_key_is_named(self, source: FileKeySource) -> None:
        with pytest.raises(ConfigError, match="mk-none is missing"):
            source.load("mk-none")

    @pytest.mark.parametrize("key_id", ["", "../etc", "a/b", "A", "-x", "x" * 65, "a\n", ".x"])
    def test_an_id_is_never_a_path_or_an_option(self, source: FileKeySource, key_id: str) -> None:
        with pytest.raises(ConfigError, match="master key id"):
            source.load(key_id)

    @pytest.mark.parametrize("content", [b"", b"ab", b"zz" * 32, KEY.hex().encode() + b"00", b"\xff" * 64, b"0" * 9999])
    def test_a_malformed_key_is_refused_and_not_shown(
        self, source: FileKeySource, tmp_path: Path, content: bytes
    ) -> None:
        one = source.create()
        (tmp_path / "keys" / f"{one}.key").write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            source.load(one)
        said = str(caught.value).replace(one, "")  # a random id may hold two characters of anything
        assert not content or content.decode("latin-1") not in said
        assert caught.value.__cause__ is None

    def test_a_link_or_a_pipe_is_refused(self, source: FileKeySource, tmp_path: Path) -> None:
        one = source.create()
        (tmp_path / "keys" / "mk-link.key").symlink_to(f"{one}.key")
        os.mkfifo(tmp_path / "keys" / "mk-pipe.key", 0o600)
        for planted in ("mk-link", "mk-pipe"):
            with pytest.raises(ConfigError):
                source.load(planted)


class TestPassphraseKeySource:
    def test_the_same_passphrase_gives_the_same_key(self, tmp_path: Path) -> None:
        source = PassphraseKeySource(tmp_path / "salts", lambda: b"correct horse")
        one, other = source.create(), source.create()
        again = PassphraseKeySource(tmp_path / "salts", lambda: b"correct horse")
        assert len(source.load(one)) == 32
        assert again.load(one) == source.load(one) != source.load(other)
        assert PassphraseKeySource(tmp_path / "salts", lambda: b"wrong").load(one) != source.load(one)

    def test_a_wrong_passphrase_shows_at_the_first_use(self, tmp_path: Path) -> None:
        source = PassphraseKeySource(tmp_path / "salts", lambda: b"right and long")
        one = source.create()
        data = KeyRing(source, one).new_data_key()
        other = KeyRing(PassphraseKeySource(tmp_path / "salts", lambda: b"wrong"), one)
        with pytest.raises(IntegrityError, match=one):
            other.unwrap(data.key_id, data.wrapped, data.master_id)

    def test_no_salt_or_no_passphrase(self, tmp_path: Path) -> None:
        source = PassphraseKeySource(tmp_path / "salts", lambda: b"")
        with pytest.raises(ConfigError, match="mk-none"):
            source.load("mk-none")
        one = PassphraseKeySource(tmp_path / "salts", lambda: b"long enough for all").create()
        with pytest.raises(ConfigError, match="empty"):
            source.load(one)

    def test_no_key_is_made_from_a_passphrase_that_can_be_guessed(self, tmp_path: Path) -> None:
        for short in (b"", b"a", b"elevenchars", "\u00e4\u00f6\u00fc\u00df\u00e4\u00f6".encode()):
            with pytest.raises(ConfigError, match="12 characters"):
                PassphraseKeySource(tmp_path / "salts", lambda short=short: short).create()  # type: ignore[misc]
        assert not (tmp_path / "salts").exists()


def python(code: str, *more: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *more)


class TestCommandKeySource:
    @pytest.mark.parametrize("text", [KEY.hex(), KEY.hex().upper() + "\n", base64.b64encode(KEY).decode()])
    def test_hex_and_base64_are_read(self, text: str) -> None:
        assert CommandKeySource(python(f"print({text!r})")).load("mk-1") == KEY

    def test_the_id_is_one_argument_and_no_shell_runs(self, tmp_path: Path) -> None:
        code = "import sys; print(sys.argv[1].encode().hex().ljust(64, '0') if sys.argv[2] == '$(id);' else '')"
        key = CommandKeySource(python(code, "--name={key_id}", "$(id);")).load("mk-1")
        assert key.rstrip(b"\0") == b"--name=mk-1"

    @pytest.mark.parametrize(
        ("argv", "says"),
        [
            (python("print('DEADBEEF' * 5)"), "not 32 bytes"),
            (python("import sys; print('5EC12E7'); sys.exit(3)"), "status 3"),
            (python("import sys; sys.stderr.write('5EC12E7'); sys.exit(1)"), "status 1"),
            (("/nonexistent/command",), "cannot run"),
        ],
    )
    def test_a_failing_command_is_told_without_its_output(self, argv: tuple[str, ...], says: str) -> None:
        with pytest.raises(ConfigError, match=says) as caught:
            CommandKeySource(argv).load("mk-1")
        assert "mk-1" in str(caught.value)
        assert "5EC12E7" not in str(caught.value)
        assert "DEADBEEF" not in str(caught.value)

    def test_a_command_that_hangs_is_ended(self) -> None:
        with pytest.raises(ConfigError, match="gave no key"):
            CommandKeySource(python("import signal; signal.pause()"), timeout_s=0.2).load("mk-1")

    def test_an_empty_command_is_refused(self) -> None:
        with pytest.raises(ConfigError):
            CommandKeySource(())


class TestKeyRing:
    def test_a_data_key_is_wrapped_and_unwrapped(self, source: FileKeySource, ring: KeyRing) -> None:
        one, other = ring.new_data_key(), ring.new_data_key()
        assert (len(one.key), len(one.key_id), len(one.wrapped)) == (32, 16, keys.WRAPPED_BYTES)
        assert one.key != other.key
        assert one.key_id != other.key_id
        assert one.key not in one.wrapped
        again = KeyRing(source, ring.active_id)
        assert again.unwrap(one.key_id, one.wrapped, one.master_id) == one.key

    def test_every_changed_byte_is_found_also_when_cached(self, ring: KeyRing) -> None:
        one = ring.new_data_key()
        for place in range(len(one.wrapped)):
            changed = bytearray(one.wrapped)
            changed[place] ^= 1
            with pytest.raises(IntegrityError):
                ring.unwrap(one.key_id, bytes(changed), one.master_id)
        for wrapped in (b"", one.wrapped[:27], one.wrapped + b"\0", bytes(2 << 20)):
            with pytest.raises(IntegrityError):
                ring.unwrap(one.key_id, wrapped, one.master_id)

    def test_a_wrapped_key_does_not_open_as_another(self, ring: KeyRing) -> None:
        one, other = ring.new_data_key(), ring.new_data_key()
        with pytest.raises(IntegrityError):
            ring.unwrap(one.key_id, other.wrapped, one.master_id)
        with pytest.raises(IntegrityError):
            ring.unwrap(b"short", one.wrapped, one.master_id)

    def test_a_wrapped_key_does_not_open_as_a_secret(self, ring: KeyRing) -> None:
        secret = ring.seal_secret("index", bytes(32))
        bare = secret[-keys.WRAPPED_BYTES :]
        with pytest.raises(IntegrityError):
            ring.unwrap(bytes(16), bare, ring.active_id)

    def test_another_key_under_the_same_id(self, source: FileKeySource, ring: KeyRing, tmp_path: Path) -> None:
        one = ring.new_data_key()
        (tmp_path / "keys" / f"{ring.active_id}.key").write_text(bytes(32).hex())
        with pytest.raises(IntegrityError, match=ring.active_id):
            KeyRing(source, ring.active_id).unwrap(one.key_id, one.wrapped, one.master_id)

    def test_a_missing_master_key_is_named(self, source: FileKeySource, ring: KeyRing, tmp_path: Path) -> None:
        one = ring.new_data_key()
        other = KeyRing(source, source.create())
        (tmp_path / "keys" / f"{one.master_id}.key").unlink()
        with pytest.raises(ConfigError, match=one.master_id):
            other.unwrap(one.key_id, one.wrapped, one.master_id)
        with pytest.raises(ConfigError, match=one.master_id):
            KeyRing(source, one.master_id)

    def test_rotation_rewraps_and_the_old_key_can_go(
        self, source: FileKeySource, ring: KeyRing, tmp_path: Path
    ) -> None:
        one, secret, old = ring.new_data_key(), ring.seal_secret("index", b"s3cret"), ring.active_id
        ring.activate(source.create())
        again = ring.rewrap(one.key_id, one.wrapped, one.master_id)
        blob = ring.rewrap_secret("index", secret)
        assert (again.key, again.key_id, again.master_id) == (one.key, one.key_id, ring.active_id)
        assert secret_master_id(secret) == old
        assert secret_master_id(blob) == ring.active_id
        (tmp_path / "keys" / f"{old}.key").unlink()
        fresh = KeyRing(source, ring.active_id)
        assert fresh.unwrap(again.key_id, again.wrapped, again.master_id) == one.key
        assert fresh.open_secret("index", blob) == b"s3cret"

    def test_activating_a_missing_key_changes_nothing(self, ring: KeyRing) -> None:
        before = ring.active_id
        with pytest.raises(ConfigError):
            ring.activate("mk-none")
        assert ring.active_id == before

    def test_the_cache_is_bounded_and_forgets(self, source: FileKeySource) -> None:
        ring = KeyRing(source, source.create(), cached_keys=3)
        made = [ring.new_data_key() for _ in range(10)]
        assert len(ring._data_keys) == 3
        for one in made:
            assert ring.unwrap(one.key_id, one.wrapped, one.master_id) == one.key
        ring.forget(made[-1].key_id)
        ring.forget(made[-1].key_id)
        assert made[-1].key_id not in ring._data_keys

    def test_nothing_shows_a_key(self, source: FileKeySource, ring: KeyRing) -> None:
        one = ring.new_data_key()
        master = source.load(ring.active_id)
        for shown in (repr(one), repr(ring), repr(source), repr(vars(ring)["_masters"])):
            for secret in (one.key, one.wrapped, master):
                assert secret.hex() not in shown
                assert repr(secret)[2:-1] not in shown


class TestSecrets:
    @pytest.mark.parametrize("secret", [b"", b"x", bytes(1000)])
    def test_a_secret_opens_under_its_own_name_only(self, ring: KeyRing, secret: bytes) -> None:
        blob = ring.seal_secret("trail-signing", secret)
        assert ring.open_secret("trail-signing", blob) == secret
        with pytest.raises(IntegrityError):
            ring.open_secret("ca", blob)

    def test_every_changed_or_missing_byte_is_found(self, ring: KeyRing) -> None:
        blob = ring.seal_secret("ca", b"key")
        for place in range(len(blob)):
            changed = bytearray(blob)
            changed[place] ^= 1
            with pytest.raises((IntegrityError, ConfigError)):
                ring.open_secret("ca", bytes(changed))
            with pytest.raises((IntegrityError, ConfigError)):
                ring.open_secret("ca", blob[:place])

    @pytest.mark.parametrize("name", ["", "../x", "A", "a/b", ".x"])
    def test_a_name_is_no_path(self, ring: KeyRing, tmp_path: Path, name: str) -> None:
        files = SecretFiles(tmp_path / "secrets")
        for use in (lambda: ring.seal_secret(name, b""), lambda: files.put(name, b""), lambda: files.get(name)):
            with pytest.raises(ValueError):
                use()

    def test_files_are_replaced_whole(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        files = SecretFiles(tmp_path / "secrets")
        with pytest.raises(NotFound):
            files.get("ca")
        assert list(files.names()) == []
        files.put("ca", b"one")
        files.put("ca", b"two")
        assert files.get("ca") == b"two"

        def full(_fd: int) -> None:
            raise OSError(28, "planted")

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises(StorageUnavailable):
                files.put("ca", b"three")
        assert files.get("ca") == b"two"
        assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["ca.sealed"]
        assert list(files.names()) == ["ca"]

    def test_rewrapping_all_can_be_repeated(self, source: FileKeySource, ring: KeyRing, tmp_path: Path) -> None:
        files = SecretFiles(tmp_path / "secrets")
        for name in ("ca", "index", "trail"):
            files.put(name, ring.seal_secret(name, name.encode()))
        ring.activate(source.create())
        assert files.rewrap_all(ring) == 3
        assert files.rewrap_all(ring) == 0
        fresh = KeyRing(source, ring.active_id)
        assert [fresh.open_secret(name, files.get(name)).decode() for name in files.names()] == ["ca", "index", "trail"]
