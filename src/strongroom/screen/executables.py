"""Programs, by the structure of their headers: PE, ELF, Mach-O, Java, DEX, WebAssembly, DOS, shortcuts.

Each parser takes bytes and a position, and answers only where the header holds together: a magic number alone proves
nothing. With the fields that are compared, a random position matches with a chance of less than 2**-56, so that
5,000 images of 525 KB (2**31.3 positions) have a wrong match with a chance below 2**-24; the few formats that prove
less (COM, a DOS header alone, pickles) are looked for at beginnings only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from struct import unpack_from
from typing import Final

from strongroom.screen.matches import HIGH, LOW, MEDIUM, U16, U16_BIG, U32, Match

_PE_MACHINES: Final[Mapping[int, str]] = {
    0x014C: "x86",
    0x8664: "x86-64",
    0x01C0: "ARM",
    0x01C2: "ARM Thumb",
    0x01C4: "ARMv7",
    0xAA64: "ARM64",
    0xA641: "ARM64EC",
    0x0200: "Itanium",
    0x0EBC: "EFI byte code",
    0x5032: "RISC-V 32",
    0x5064: "RISC-V 64",
    0x6264: "LoongArch64",
    0x0166: "MIPS",
    0x01F0: "PowerPC",
}
_PE_MAGICS: Final[Mapping[int, str]] = {0x10B: "PE32", 0x20B: "PE32+", 0x107: "ROM image"}
_ELF_MACHINES: Final[Mapping[int, str]] = {
    2: "SPARC",
    3: "x86",
    4: "68000",
    8: "MIPS",
    20: "PowerPC",
    21: "PowerPC 64",
    22: "S/390",
    40: "ARM",
    42: "SuperH",
    43: "SPARC V9",
    50: "Itanium",
    62: "x86-64",
    94: "Xtensa",
    106: "Blackfin",
    183: "ARM64",
    243: "RISC-V",
    247: "BPF",
    258: "LoongArch",
}
_ELF_TYPES: Final = {0: "no type", 1: "relocatable object", 2: "executable", 3: "shared object", 4: "core dump"}
_MACHO_CPUS: Final = {7: "x86", 12: "ARM", 18: "PowerPC", 0x01000007: "x86-64", 0x0100000C: "ARM64"} | {
    0x01000012: "PowerPC 64",
    0x0200000C: "ARM64_32",
}
_MACHO_ORDERS: Final = {
    b"\xce\xfa\xed\xfe": ("<", 28),
    b"\xcf\xfa\xed\xfe": ("<", 32),
    b"\xfe\xed\xfa\xce": (">", 28),
    b"\xfe\xed\xfa\xcf": (">", 32),
}
LNK_HEADER: Final = b"\x4c\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46"
_FAR_LOOK_BACK_BYTES: Final = 4096
_MAX_DOS_HEADERS: Final = 16
_JAVA_CONSTANT_BYTES: Final = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4} | {
    15: 3,
    16: 2,
    17: 4,
    18: 4,
    19: 2,
    20: 2,
}
_PROVING_CONSTANTS: Final = 8
_PICKLE_NAME: Final = re.compile(
    rb"c[A-Za-z_][\w.]{1,60}\n[A-Za-z_][\w.]{0,60}\n|\x8c.[A-Za-z_][\w.]{1,60}\x94?\x8c.[A-Za-z_][\w.]{1,60}\x94?\x93",
    re.S,
)
"""A module and what is taken from it, in the two ways to write it."""


def pe(data: bytes, at: int) -> Match | None:
    """MZ, and where e_lfanew leads "PE", a known machine, sections and an optional header of a known kind."""
    if data[at : at + 2] not in (b"MZ", b"ZM") or len(data) < at + 64:
        return None
    new_header = U32.unpack_from(data, at + 0x3C)[0]
    found = coff(data, at + new_header) if 4 <= new_header < 1 << 31 else None
    if found is None:
        return None
    return found._replace(at=at, what=f"a DOS header whose e_lfanew 0x{new_header:X} leads to {found.what}")


def coff(data: bytes, at: int) -> Match | None:
    """The PE signature with a file header that makes sense behind it."""
    if data[at : at + 4] != b"PE\0\0" or len(data) < at + 26:
        return None
    machine, sections, _, _, _, optional_bytes = unpack_from("<HHLLLH", data, at + 4)
    magic = U16.unpack_from(data, at + 24)[0]
    if machine not in _PE_MACHINES or sections > 96 or magic not in _PE_MAGICS or not 28 <= optional_bytes <= 1024:
        return None
    entry = f", entry point 0x{U32.unpack_from(data, at + 40)[0]:X}" if len(data) >= at + 44 else ""
    what = f"a {_PE_MAGICS[magic]} header for {_PE_MACHINES[machine]} with {sections} sections{entry}"
    return Match("SR-PE-001", HIGH, what, at)


def pe_around(data: bytes, at: int) -> Match | None:
    """The program whose PE signature stands at ``at``, from its DOS header on if that is near and leads there."""
    found = coff(data, at)
    if found is None:
        return None
    start = at
    for _ in range(_MAX_DOS_HEADERS):
        start = data.rfind(b"MZ", max(0, at - _FAR_LOOK_BACK_BYTES), start)
        if start < 0:
            break
        if start + 64 <= at and U32.unpack_from(data, start + 0x3C)[0] == at - start:
            return pe(data, start)
    return found._replace(confidence=MEDIUM, what=found.what + ", without the DOS header that belongs to it")


def dos(data: bytes, at: int) -> Match | None:
    """A DOS program, or a PE program whose new header is elsewhere: only the first header is borne out."""
    if data[at : at + 2] not in (b"MZ", b"ZM") or len(data) < at + 28:
        return None
    last, pages, _, header, least, most = unpack_from("<6H", data, at + 2)
    if last < 512 and pages > 0 and 1 < header < 4096 and header * 16 < pages * 512 and least <= most:
        return Match("SR-PE-002", MEDIUM, f"a DOS program header: {pages} pages, header of {16 * header} bytes", at)
    return None


def elf(data: bytes, at: int) -> Match | None:
    """Class, byte order, version (twice), type, machine and the size of its own header agree."""
    ident = data[at : at + 16]
    if ident[:4] != b"\x7fELF" or len(data) < at + 52 or ident[4] not in (1, 2) or ident[5] not in (1, 2):
        return None
    order = "<" if ident[5] == 1 else ">"
    kind, machine, version = unpack_from(order + "HHL", data, at + 16)
    wide = ident[4] == 2
    if ident[6] != 1 or version != 1 or (kind not in _ELF_TYPES and kind < 0xFE00):
        return None
    if len(data) < at + (64 if wide else 52):
        return None
    header, entry_bytes, entries = unpack_from(order + "3H", data, at + (52 if wide else 40))
    if header != (64 if wide else 52) or (entries and entry_bytes != (56 if wide else 32)):
        return None
    name = _ELF_MACHINES.get(machine, f"machine {machine}")
    what = f"a {64 if wide else 32}-bit {_ELF_TYPES.get(kind, 'file')} for {name} with {entries} program headers"
    return Match("SR-ELF-001", HIGH if machine in _ELF_MACHINES else MEDIUM, what, at)


def macho(data: bytes, at: int) -> Match | None:
    """A known processor and file type, and load commands that lie within the size that the header gives."""
    order, header = _MACHO_ORDERS.get(data[at : at + 4], ("", 0))
    if not order or len(data) < at + header + 8:
        return None
    cpu, _, kind, commands, commands_bytes = unpack_from(order + "5L", data, at + 4)
    if cpu not in _MACHO_CPUS or not 1 <= kind <= 12 or not 0 < commands < 4096 or commands_bytes < 8 * commands:
        return None
    command, size = unpack_from(order + "LL", data, at + header)
    if command & 0x7FFFFFFF > 0x60 or not 8 <= size <= commands_bytes:
        return None
    what = f"a {8 * (4 if header == 28 else 8)}-bit Mach-O file of type {kind} for {_MACHO_CPUS[cpu]}"
    return Match("SR-MACHO-001", HIGH, f"{what} with {commands} load commands", at)


def fat_or_class(data: bytes, at: int) -> Match | None:
    """0xCAFEBABE begins a Java class and a universal Mach-O file: the next eight bytes tell; 0xCAFEBABF the latter."""
    if data[at : at + 4] == b"\xca\xfe\xba\xbf" and len(data) >= at + 40:
        count, cpu, _, offset = unpack_from(">LLLQ", data, at + 4)
        if 0 < count < 44 and cpu in _MACHO_CPUS and 8 + 32 * count <= offset < 1 << 40:
            return Match("SR-MACHO-001", HIGH, f"a universal Mach-O file of {count} programs", at)
    if data[at : at + 4] != b"\xca\xfe\xba\xbe" or len(data) < at + 16:
        return None
    count, cpu, _, offset = unpack_from(">4L", data, at + 4)
    if 0 < count < 44 and cpu in _MACHO_CPUS and offset >= 8 + 20 * count:
        return Match("SR-MACHO-001", HIGH, f"a universal Mach-O file of {count} programs, for {_MACHO_CPUS[cpu]}", at)
    minor, major, constants = unpack_from(">3H", data, at + 4)
    proven = _java_constants(data, at + 10, constants)
    if 45 <= major <= 90 and (minor < 16 or minor == 0xFFFF) and constants > 1 and proven:
        what = f"a Java class file of version {major}.{minor}, {constants - 1} constants"
        return Match("SR-JAVA-001", HIGH if proven >= _PROVING_CONSTANTS else MEDIUM, what, at)
    return None


def _java_constants(data: bytes, at: int, count: int) -> int:
    """Return how many constants hold together, 0 if one of the first does not."""
    index, seen = 1, 0
    while index < count and seen < _PROVING_CONSTANTS and at + 3 <= len(data):
        kind = data[at]
        if kind == 1:
            at += 3 + U16_BIG.unpack_from(data, at + 1)[0]
        elif kind in _JAVA_CONSTANT_BYTES:
            at += 1 + _JAVA_CONSTANT_BYTES[kind]
        else:
            return 0
        index += 2 if kind in (5, 6) else 1
        seen += 1
    return seen


def dex(data: bytes, at: int) -> Match | None:
    """Version, header size and the constant that gives the byte order."""
    head = data[at : at + 0x70]
    if head[:4] != b"dex\n" or len(head) < 44 or not head[4:7].isdigit() or head[7]:
        return None
    size, header, order = unpack_from("<3L", head, 32)
    if header not in (0x70, 0x78) or order not in (0x12345678, 0x78563412):
        return None
    return Match("SR-DEX-001", HIGH, f"a Dalvik executable of version {head[4:7].decode()}, {size} bytes", at, size)


def wasm(data: bytes, at: int) -> Match | None:
    """Version 1 and a first section that exists."""
    if data[at : at + 8] != b"\0asm\1\0\0\0":
        return None
    if len(data) > at + 8 and data[at + 8] > 13:
        return None
    return Match("SR-WASM-001", HIGH, "a WebAssembly module of version 1", at)


def shortcut(data: bytes, at: int) -> Match | None:
    """Header size and class identifier of a shell link (MS-SHLLINK 2.1)."""
    if data[at : at + 20] != LNK_HEADER or len(data) < at + 24:
        return None
    flags = U32.unpack_from(data, at + 20)[0]
    return Match("SR-LNK-001", HIGH, f"a Windows shortcut, link flags 0x{flags:08X}", at)


def com(data: bytes, at: int) -> Match | None:
    """A jump over the bytes that DICOM needs, and calls of DOS behind it: machine code has no header to prove."""
    head = data[at : at + 4096]
    if len(head) < 16 or not head.strip(b"\0"):
        return None
    if head[0] == 0xEB and 2 <= head[1] < 0x80:
        target = 2 + head[1]
    elif head[0] == 0xE9 and len(head) > 3:
        target = (3 + U16.unpack_from(head, 1)[0]) & 0xFFFF
    else:
        target = 0 if head[0] in (0xB4, 0xB8, 0xBA, 0x0E, 0x1E, 0xFA, 0xFC, 0x31, 0x33, 0x8C) else -1
    calls = min((place for place in (head.find(b"\xcd\x21"), head.find(b"\xcd\x20")) if place > 0), default=-1)
    if target < 0 or calls < 0 or calls > 512 + target:
        return None
    ends = b"\x4c\xcd\x21" in head[:2048] or b"\xb4\x09" in head[target : target + 512]
    sure = MEDIUM if ends and head[0] in (0xEB, 0xE9) else LOW
    return Match("SR-COM-001", sure, "16-bit machine code: an entry and a call of DOS behind it", at)


def pickle(data: bytes, at: int) -> Match | None:
    """A Python pickle of protocol 2 to 5 that names something to call: to load it runs it."""
    head = data[at : at + 65536]
    if len(head) < 12 or head[0] != 0x80 or not 2 <= head[1] <= 5:
        return None
    if not _PICKLE_NAME.search(head) or not (b"R" in head or b"\x81" in head):
        return None
    return Match("SR-PICKLE-001", MEDIUM, f"a Python pickle of protocol {head[1]} that makes calls", at)


def byte_code(data: bytes, at: int) -> Match | None:
    """Compiled Python: a magic number that ends in CR LF, flags, and a code object that takes no arguments."""
    if data[at + 2 : at + 4] != b"\r\n" or len(data) < at + 32:
        return None
    for begin, arguments in ((16, bytes(12)), (12, bytes(8)), (8, bytes(4))):
        code = at + begin
        if begin == 16 and U32.unpack_from(data, at + 4)[0] > 3:
            continue
        if data[code] & 0x7F == 0x63 and data[code + 1 : code + 1 + len(arguments)] == arguments:
            return Match("SR-PKG-001", HIGH, f"compiled Python of magic number {U16.unpack_from(data, at)[0]}", at)
    return None
