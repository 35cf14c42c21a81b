"""Character sets: the examples of PS3.5 annexes H to K, the files of pydicom, and names in their compared form."""

from pathlib import Path

import pydicom
import pydicom.data
import pytest

from strongroom.dicom.text import decode, encode, normalise_pn, parse_charsets

VECTORS = [
    # PS3.5 H.3.1, H.3.2, H.3.3: Japanese
    (
        r"\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    (
        r"ISO 2022 IR 13\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    # PS3.5 I.2: Korean
    (
        r"\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    # PS3.5 J.1: Chinese in UTF-8; J.2: in GB18030
    ("ISO_IR 192", "Wang^XiaoDong=王^小東".encode(), "Wang^XiaoDong=王^小東"),
    ("GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang^XiaoDong=王^小东"),
    # PS3.5 K.2, K.3: GB 2312 with code extensions
    (
        r"\ISO 2022 IR 58",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
        "Zhang^XiaoDong=张^小东",
    ),
    # PS3.5 annex G and the single-byte sets
    ("ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
    ("ISO_IR 144", b"\xbb\xee\xda\xceceM\xd1\xeb\xd9", None),
    ("ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος"),
    ("ISO_IR 138", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", "שרון^דבורה"),
    ("ISO_IR 127", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", "قباني^لنزار"),
    ("ISO_IR 203", b"\xa4uro", "€uro"),
    ("GBK", b"\xcd\xf5", "王"),
    (r"ISO 2022 IR 6\ISO 2022 IR 100", b"\x1b-A\xc4neas", "Äneas"),
    # a second set is forgotten at a delimiter, and ends where another begins
    (r"ISO 2022 IR 100\ISO 2022 IR 144", b"\xc4=\x1b-L\xbb\xee^\xc4", "Ä=Лю^Ä"),
]


@pytest.mark.parametrize(("charsets", "raw", "text"), VECTORS)
def test_examples_of_the_standard(charsets, raw, text):
    decoded = decode(raw, parse_charsets(charsets.encode()), b"PN")
    assert "\ufffd" not in decoded
    if text is not None:
        assert decoded == text


@pytest.mark.parametrize(("charsets", "raw", "text"), VECTORS)
def test_what_is_encoded_decodes_to_the_same(charsets, raw, text):
    terms = parse_charsets(charsets.encode())
    wanted = decode(raw, terms, b"PN")
    encoded = encode(wanted, terms)
    assert encoded is not None
    assert decode(encoded, terms, b"PN") == wanted


@pytest.mark.filterwarnings("ignore")
def test_names_of_the_sample_files_are_those_of_pydicom():
    folder = Path(pydicom.data.__file__).parent / "charset_files"
    names = 0
    for path in sorted(folder.glob("*.dcm")):
        dataset = pydicom.dcmread(path)
        if "SpecificCharacterSet" not in dataset or "PatientName" not in dataset:
            continue
        raw = dataset.get_item(0x00100010).value
        dataset.decode()
        charset = dataset.SpecificCharacterSet
        terms = [charset] if isinstance(charset, str) else list(charset)
        ours = decode(raw, parse_charsets("\\".join(term or "" for term in terms).encode()), b"PN").rstrip(" =")
        assert ours == str(dataset.PatientName), path.name
        names += 1
    assert names >= 15


@pytest.mark.parametrize(
    ("raw", "terms"),
    [
        (b"", ()),
        (b"  ", ()),
        (b"ISO_IR 100", ("ISO_IR 100",)),
        (b"ISO-IR 100 ", ("ISO_IR 100",)),
        (b"ISO IR 192\0", ("ISO_IR 192",)),
        (b"\\ISO 2022 IR 87", ("", "ISO 2022 IR 87")),
        (b"ISO 2022 IR-13\\ISO_2022_IR_87", ("ISO 2022 IR 13", "ISO 2022 IR 87")),
        (b"GB18030", ("GB18030",)),
        (b"\xff", ("\ufffd",)),
    ],
)
def test_spellings_of_the_field(raw, terms):
    assert parse_charsets(raw) == terms


def test_undecodable_bytes_are_replaced_and_never_raise():
    for charsets in (
        (),
        ("ISO_IR 192",),
        ("ISO_IR 13",),
        ("", "ISO 2022 IR 87"),
        ("NONSENSE",),
        ("", "ISO 2022 IR 149"),
    ):
        text = decode(b"A\xff\xfe\x1b$B\xff\x1b$)C\xff^\x80", charsets, b"PN")
        assert "\ufffd" in text
        assert text.startswith("A")


def test_other_vrs_are_of_the_default_repertoire():
    assert decode(b"\xc4", ("ISO_IR 100",), b"CS") == "\ufffd"
    assert decode(b"\xc4", ("ISO_IR 100",), b"LO") == "Ä"


def test_the_second_byte_of_a_character_is_no_delimiter():
    assert decode("\u4e00\u7e01\\b".encode("gb18030"), ("GB18030",), b"LO").split("\\") == ["一縁", "b"]
    # 0x5C within JIS X 0208
    assert decode(b"\x1b$B!\\\x1b(B\\b", ("", "ISO 2022 IR 87"), b"LO").split("\\") == ["＋", "b"]


def test_text_that_a_set_does_not_have_is_not_encoded():
    assert encode("Jérôme", ()) is None
    assert encode("山田", ("ISO_IR 100",)) is None
    assert encode("山田", ("", "ISO 2022 IR 149", "ISO 2022 IR 87")) is not None
    assert encode("\ud800", ("ISO_IR 192",)) is None
    assert encode("plain", ()) == b"plain"


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("MÜLLER^Hans", "muller^hans"),
        ("Müller^Hans^^^", "muller^hans"),
        ("Mu\u0308ller ^ Hans", "muller^hans"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "yamada^tarou=山田^太郎=やまだ^たろう"),
        ("Yamada^^=^=", "yamada"),
        ("=山田^太郎", "=山田^太郎"),
        ("ＡＢＣ", "abc"),
        ("", ""),
        ("^^^", ""),
        ("Ångström^Ø", "angstrom^ø"),
        ("がん", "がん"),
        ("홍^길동", "홍^길동"),
    ],
)
def test_names_are_compared_without_case_accents_and_padding(name, normal):
    assert normalise_pn(name) == normal
    assert normalise_pn(normal) == normal
