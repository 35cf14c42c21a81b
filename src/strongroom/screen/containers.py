"""Containers, documents and disk images, by what their headers bear out."""

from __future__ import annotations

import re
from binascii import crc32
from struct import unpack_from
from typing import Final

from strongroom.screen.findings import Confidence
from strongroom.screen.matches import HIGH, LOW, MEDIUM, U16, U32, U32_BIG, Match

ZIP_METHODS: Final = frozenset({0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 14, 18, 19, 93, 94, 95, 96, 97, 98, 99})
OLE_MAGIC: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MSI_CLSID: Final = bytes.fromhex("84100c0000000000c000000000000046")
_PROGRAM_NAMES: Final = re.compile(
    rb"\.(?:exe|dll|scr|com|bat|cmd|ps1|vbs|vbe|js|jse|wsf|hta|lnk|msi|jar|sh|elf|so|dylib|class|dex|cpl|sys)$", re.I
)
_EOCD_BYTES: Final = 22
_ISO_AT: Final = 0x8001
_SECTOR: Final = 2048


def zip_local(data: bytes, at: int) -> Match | None:
    """A local file header: version, flags, method, a name of printable characters."""
    if data[at : at + 4] != b"PK\3\4" or len(data) < at + 31:
        return None
    version, flags, method, _, _, _, packed, _, name_bytes, extra = unpack_from("<5H3L2H", data, at + 4)
    name = data[at + 30 : at + 30 + name_bytes]
    if (version & 0xFF) > 63 or version >> 8 > 20 or method not in ZIP_METHODS or flags & 0xD780:
        return None
    if not 0 < name_bytes <= 1024 or len(name) < min(name_bytes, 8) or not _is_name(name) or extra > 8192:
        return None
    sure = HIGH if name_bytes >= 4 else MEDIUM
    return _zip_match(name, data[at : at + 65536], f"a local file header, method {method}, {packed} bytes", sure, at)


def _is_name(name: bytes) -> bool:
    return min(name) >= 0x20 and 0x7F not in name and (name.isascii() or _is_utf8(name))


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _zip_match(name: bytes, near: bytes, what: str, sure: Confidence, at: int) -> Match:
    if b"AndroidManifest.xml" in near or b"classes.dex" in near:
        rule, kind = "SR-ZIP-002", "an Android package"
    elif b"META-INF/MANIFEST.MF" in near or name.startswith(b"META-INF/"):
        rule, kind = "SR-ZIP-002", "a Java archive"
    elif b"vbaProject.bin" in near:
        rule, kind = "SR-ZIP-002", "an Office document with macros"
    elif _PROGRAM_NAMES.search(name):
        rule, kind = "SR-ZIP-002", "a ZIP archive with a program in it"
    elif b"[Content_Types].xml" in near:
        rule, kind = "SR-ZIP-001", "an Office document"
    else:
        rule, kind = "SR-ZIP-001", "a ZIP archive"
    return Match(rule, sure, f"{kind}: {what}", at)


def zip_end(data: bytes, at: int) -> Match | None:
    """An end record whose central directory lies right before it, with a header where it says that it begins."""
    if data[at : at + 4] != b"PK\5\6" or len(data) < at + _EOCD_BYTES:
        return None
    disk, first, here, entries, size, _, comment = unpack_from("<4H2LH", data, at + 4)
    if disk != first or here != entries or at + _EOCD_BYTES + comment > len(data):
        return None
    if not entries:
        return None
    start = at - size
    if not 46 * entries <= size:
        return None
    if start < 0:
        return Match("SR-ZIP-001", LOW, f"an end record of {entries} entries, whose directory lies further up", at)
    if data[start : start + 4] != b"PK\1\2":
        return None
    name_bytes = U16.unpack_from(data, start + 28)[0]
    name = data[start + 46 : start + 46 + name_bytes]
    found = _zip_match(name, data[start:at], f"an end record with a central directory of {entries} entries", HIGH, at)
    return found._replace(at=start)


def rar(data: bytes, at: int) -> Match | None:
    """The marker block of RAR 4, with the archive header behind it, or RAR 5."""
    head = data[at : at + 16]
    if head[:8] == b"Rar!\x1a\x07\x01\0" and len(head) >= 14:
        return Match("SR-RAR-001", HIGH, "a RAR 5 archive", at)
    if head[:7] == b"Rar!\x1a\x07\0" and len(head) >= 10 and head[9] == 0x73:
        return Match("SR-RAR-001", HIGH, "a RAR 4 archive with its main header", at)
    if head[:7] == b"Rar!\x1a\x07\0":
        return Match("SR-RAR-001", MEDIUM, "the marker of a RAR 4 archive", at)
    return None


def seven_zip(data: bytes, at: int) -> Match | None:
    """The signature, and a start header whose CRC is right."""
    head = data[at : at + 32]
    if head[:6] != b"7z\xbc\xaf\x27\x1c" or len(head) < 32:
        return None
    right = crc32(head[12:32]) == U32.unpack_from(head, 8)[0]
    if not right and (head[6] or head[7] > 9):
        return None
    what = f"a 7z archive of version {head[6]}.{head[7]}" + (", start header with the right CRC" if right else "")
    return Match("SR-7Z-001", HIGH if right else MEDIUM, what, at)


def cabinet(data: bytes, at: int) -> Match | None:
    """Reserved fields zero, version 1.x, the first file entry within the size."""
    if data[at : at + 8] != b"MSCF\0\0\0\0" or len(data) < at + 36:
        return None
    size, zero, files_at, zero_again, minor, major, folders, files = unpack_from("<4LBBHH", data, at + 8)
    if zero or zero_again or major != 1 or minor > 9 or not folders or not files or not 36 <= files_at < size:
        return None
    return Match("SR-CAB-001", HIGH, f"a cabinet of {files} files, {size} bytes", at, size)


def compound(data: bytes, at: int) -> Match | None:
    """An OLE compound file: byte order, version and sector sizes agree. Installers and macros are told apart."""
    if data[at : at + 8] != OLE_MAGIC or len(data) < at + 76:
        return None
    minor, major, order, shift, mini = unpack_from("<5H", data, at + 24)
    if order != 0xFFFE or (major, shift) not in ((3, 9), (4, 12)) or mini != 6:
        return None
    near = data[at : at + (4 << 20)]
    rule, kind = "SR-OLE-001", "an OLE compound file"
    if _MSI_CLSID in near:
        rule, kind = "SR-OLE-002", "a Windows Installer package"
    elif "_VBA_PROJECT".encode("utf-16-le") in near or "Macros".encode("utf-16-le") in near:
        rule, kind = "SR-OLE-002", "an Office document with macros"
    return Match(rule, HIGH, f"{kind} of version {major}.{minor}, sectors of {1 << shift} bytes", at)


def help_file(data: bytes, at: int) -> Match | None:
    """A compiled HTML help file: version and header size."""
    if data[at : at + 4] != b"ITSF" or len(data) < at + 16:
        return None
    version, header = unpack_from("<LL", data, at + 4)
    if version not in (2, 3, 4) or not 0x58 <= header <= 0x100:
        return None
    return Match("SR-CHM-001", HIGH, f"a compiled HTML help file of version {version}", at)


def iso(data: bytes, at: int) -> Match | None:
    """The volume descriptors of ISO 9660 or UDF 32 KiB behind ``at``."""
    for sector in range(4):
        place = at + _ISO_AT + sector * _SECTOR
        name = data[place : place + 5]
        kind = data[place - 1 : place]
        if (
            name == b"CD001"
            and kind in (b"\0", b"\1", b"\2", b"\3", b"\xff")
            and data[place + 5 : place + 6] in b"\1\2"
        ):
            blocks, blocks_big = unpack_from("<L", data, place + 79)[0], unpack_from(">L", data, place + 83)[0]
            agrees = blocks == blocks_big and kind in b"\1\2"
            what = "an ISO 9660 volume descriptor" + (f" of {blocks} blocks" if agrees else "")
            return Match("SR-ISO-001", HIGH if agrees else MEDIUM, f"{what} at byte {place - 1} of it", at)
        if name in (b"BEA01", b"NSR02", b"NSR03") and kind == b"\0":
            return Match("SR-ISO-001", HIGH, f"a UDF volume descriptor at byte {place - 1} of it", at)
    return None


def iso_within(data: bytes, at: int) -> Match | None:
    """A primary volume descriptor from ``at`` on whose two counts of blocks agree, wherever it is."""
    for _ in range(16):
        at = data.find(b"CD001\1\0", at + 1)
        if at < 1:
            return None
        blocks, blocks_big = unpack_from("<L", data, at + 79)[0], unpack_from(">L", data, at + 83)[0]
        if data[at - 1] in (1, 2) and blocks == blocks_big:
            return Match("SR-ISO-001", MEDIUM, f"an ISO 9660 volume descriptor of {blocks} blocks", at - 1)
    return None


def tar(data: bytes, at: int) -> Match | None:
    """A header block whose checksum is right."""
    block = data[at : at + 512]
    if len(block) < 512 or not block[0]:
        return None
    field = block[148:156].strip(b" \0")
    if not field or not field.isdigit() or any(digit > 0x37 for digit in field):
        return None
    if sum(block[:148]) + 8 * 32 + sum(block[156:]) != int(field, 8):
        return None
    magic = block[257:262] == b"ustar"
    if not magic and not re.fullmatch(rb"[0-7]{5,7}[\0 ]{1,3}", block[100:108]):
        return None
    what = "a tar header with the right checksum" + ("" if magic else ", of the old format")
    return Match("SR-TAR-001", HIGH if magic else MEDIUM, what, at)


def disk_header(data: bytes, at: int) -> Match | None:
    """What begins disk images: QCOW, VMDK, VHDX, VirtualBox, a boot sector with a partition table."""
    head = data[at : at + 512]
    if head[:4] == b"QFI\xfb" and len(head) > 24 and U32_BIG.unpack_from(head, 4)[0] in (1, 2, 3):
        return Match("SR-DISK-001", HIGH, "a QCOW disk image", at)
    if head[:4] == b"KDMV" and len(head) > 12 and U32.unpack_from(head, 4)[0] in (1, 2, 3):
        return Match("SR-DISK-001", HIGH, "a VMDK disk image", at)
    if (
        head[:4] == b"QED\0"
        and len(head) > 24
        and U32.unpack_from(head, 4)[0] & 0xFFF == 0 < U32.unpack_from(head, 4)[0]
    ):
        return Match("SR-DISK-001", HIGH, "a QED disk image", at)
    if head[:8] == b"vhdxfile":
        return Match("SR-DISK-001", HIGH, "a VHDX disk image", at)
    if head[64:68] == b"\x7f\x10\xda\xbe" and b"Image" in head[:64]:
        return Match("SR-DISK-001", MEDIUM, "a VirtualBox disk image", at)
    return boot_sector(head, at)


def boot_sector(block: bytes, at: int) -> Match | None:
    """A sector with the boot signature and four partition entries, or a FAT or NTFS volume, that hold together."""
    if len(block) < 512 or block[510:512] != b"\x55\xaa":
        return None
    if block[0] in (0xEB, 0xE9) and block[11:13] in (b"\0\2", b"\0\x10") and block[16] <= 2 and block[21] >= 0xF0:
        return Match("SR-DISK-001", HIGH, "the boot sector of a FAT or NTFS volume", at)
    used = 0
    for place in range(446, 510, 16):
        status, kind = block[place], block[place + 4]
        first, count = unpack_from("<LL", block, place + 8)
        if status not in (0, 0x80) or bool(kind) != bool(count) or (kind and not first):
            return None
        used += bool(kind)
    if used:
        return Match("SR-DISK-001", HIGH, f"a boot sector with {used} partitions", at)
    if block[0] in (0xEB, 0xE9, 0xFA, 0x33, 0x31, 0xFC) and block[:446].strip(b"\0"):
        return Match("SR-DISK-001", LOW, "a sector of code with the boot signature", at)
    return None


def boot_sector_at(data: bytes, at: int) -> Match | None:
    """A boot sector that begins at ``at``."""
    return boot_sector(data[at : at + 512], at)


def disk_trailer(data: bytes, at: int) -> Match | None:
    """What ends disk images: the footer of VHD with its checksum, the trailer of a DMG."""
    block = data[at : at + 512]
    if block[:8] == b"conectix" and len(block) >= 68:
        total = ~(sum(block[:64]) + sum(block[68:512])) & 0xFFFFFFFF
        right = total == U32_BIG.unpack_from(block, 64)[0]
        what = "the footer of a VHD disk image" + (" with the right checksum" if right else "")
        return Match("SR-DISK-001", HIGH if right else MEDIUM, what, at)
    if block[:4] == b"koly" and len(block) >= 12 and unpack_from(">LL", block, 4) == (4, 512):
        return Match("SR-DISK-001", HIGH, "the trailer of an Apple disk image", at)
    return None


def package(data: bytes, at: int) -> Match | None:
    """Packages and byte code that a machine installs or runs: deb, RPM, Flash, Lua, Python."""
    head = data[at : at + 96]
    if head[:8] == b"!<arch>\n" and head[66:68] == b"`\n":
        return Match("SR-PKG-001", HIGH, "an ar archive (a static library or a Debian package)", at)
    if head[:4] == b"\xed\xab\xee\xdb" and head[4:5] in (b"\3", b"\4") and head[5:6] == b"\0":
        return Match("SR-PKG-001", HIGH, "an RPM package", at)
    if head[:3] in (b"FWS", b"CWS", b"ZWS") and len(head) > 8 and 1 <= head[3] <= 50:
        size = U32.unpack_from(head, 4)[0]
        if 21 <= size < 1 << 26:
            sure = MEDIUM if head[:1] == b"C" and head[8] == 0x78 else LOW
            return Match("SR-PKG-001", sure, f"a Flash file of version {head[3]}, {size} bytes", at, size)
    if head[:4] == b"\x1bLua" and head[4:5] in (b"\x51", b"\x52", b"\x53", b"\x54"):
        return Match("SR-PKG-001", HIGH, "Lua byte code", at)
    if head[:4] == b"xar!" and head[4:6] == b"\0\x1c":
        return Match("SR-PKG-001", HIGH, "an Apple installer package (xar)", at)
    if head[:4] == b"BC\xc0\xde" and head[5:8] == b"\x14\0\0":
        return Match("SR-PKG-001", MEDIUM, "LLVM bit code", at)
    return None


def packed(data: bytes, at: int) -> Match | None:
    """Compressed single files: what is in them is not known."""
    head = data[at : at + 16]
    if head[:3] == b"\x1f\x8b\x08" and len(head) >= 10 and not head[3] & 0xE0 and head[8] in (0, 2, 4):
        return Match("SR-PACK-001", MEDIUM, "a gzip stream", at)
    if head[:3] == b"BZh" and head[3:4].isdigit() and head[4:10] == b"1AY&SY":
        return Match("SR-PACK-001", HIGH, "a bzip2 stream", at)
    if head[:6] == b"\xfd7zXZ\0":
        return Match("SR-PACK-001", HIGH, "an xz stream", at)
    if head[:4] == b"\x28\xb5\x2f\xfd":
        return Match("SR-PACK-001", LOW, "a Zstandard frame", at)
    return None
