"""Files of every format that hides in images, made by their own rules and harmless: none of them does anything.

Each is built from its format's structure, so that the real readers of the format know it; the programs return at once.
"""

from __future__ import annotations

import base64
import hashlib
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

MARK = b"inert"
"""Stands in all of them that have room for words."""


@dataclass(frozen=True)
class Payload:
    """One hidden file. ``kind`` is how it is recognised: "program", "archive", "document", "script", "disk"."""

    name: str
    kind: str
    make: Callable[[], bytes]
    at_end: bool = False
    """Found from its end: stands at the end of whatever holds it."""
    file_offset: int | None = None
    """Where in a file it has to stand, if its readers look at one place only."""


# -- programs


def pe(*, is_64: bool = True, dll: bool = False, at: int = 0x80) -> bytes:
    """A Windows program (PE): DOS header, COFF header, optional header, one section that returns."""
    dos = bytearray(at)
    dos[:64] = struct.pack(
        "<2s13H8x2H20xL", b"MZ", 0x90, 3, 0, 4, 0, 0xFFFF, 0, 0xB8, 0, 0, 0, 0x40, 0, 0, 0, at
    )  # fmt: skip
    return bytes(dos) + pe_headers(is_64=is_64, dll=dll)


def pe_headers(*, is_64: bool = True, dll: bool = False) -> bytes:
    """What ``e_lfanew`` leads to, and the section behind it."""
    code = b"\x31\xc0\xc3".ljust(0x200, b"\0")
    optional = struct.pack("<HBB9L", 0x20B if is_64 else 0x10B, 14, 0, 0x200, 0, 0, 0x1000, 0x1000, 0, 0, 0, 0)[:24]
    if is_64:
        optional += struct.pack("<Q", 0x140000000)
    else:
        optional += struct.pack("<LL", 0x2000, 0x400000)
    optional += struct.pack("<LL6HLLLLHH", 0x1000, 0x200, 6, 0, 0, 0, 6, 0, 0, 0x2000, 0x400, 0, 3, 0x160)
    optional += struct.pack("<QQQQ" if is_64 else "<LLLL", 0x100000, 0x1000, 0x100000, 0x1000)
    optional += struct.pack("<LL", 0, 16) + bytes(128)
    flags = (0x22 if is_64 else 0x102) | (0x2000 if dll else 0)
    coff = struct.pack("<HHLLLHH", 0x8664 if is_64 else 0x14C, 1, 0x60000000, 0, 0, len(optional), flags)
    section = struct.pack("<8sLLLLLLHHL", b".text", 3, 0x1000, 0x200, 0x400, 0, 0, 0, 0, 0x60000020)
    return (b"PE\0\0" + coff + optional + section).ljust(0x380, b"\0") + code


def dos_exe() -> bytes:
    """A DOS program: MZ header without a new one behind it."""
    head = struct.pack("<2s13H", b"MZ", 0x20, 1, 0, 2, 0, 0xFFFF, 0, 0x100, 0, 0, 0, 0x1C, 0).ljust(32, b"\0")
    return head + b"\xb8\x00\x4c\xcd\x21".ljust(0x200 - 32, b"\x90")


def elf(*, bits: int = 64, big: bool = False, machine: int = 62, kind: int = 2, at: int = 0) -> bytes:
    """A Unix program (ELF) with one segment, which exits."""
    order = ">" if big else "<"
    ident = b"\x7fELF" + bytes([bits // 32, 2 if big else 1, 1]) + bytes(9)
    code = b"\xb8\x3c\0\0\0\x31\xff\x0f\x05"
    base = 0x400000
    if bits == 64:
        body = struct.pack(order + "HHLQQQLHHHHHH", kind, machine, 1, base + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        body += struct.pack(order + "LLQQQQQQ", 1, 5, at, base, base, 120 + len(code), 120 + len(code), 0x1000)
    else:
        body = struct.pack(order + "HHLLLLLHHHHHH", kind, machine, 1, base + 84, 52, 0, 0, 52, 32, 1, 0, 0, 0)
        body += struct.pack(order + "LLLLLLLL", 1, at, base, base, 84 + len(code), 84 + len(code), 5, 0x1000)
    return ident + body + code


def mach_o(*, arm: bool = False) -> bytes:
    """A macOS program with one segment and an entry point."""
    segment = struct.pack("<LL16sQQQQLLLL", 0x19, 72, b"__TEXT", 0x100000000, 0x1000, 0, 0x1000, 7, 5, 0, 0)
    entry = struct.pack("<LLQQ", 0x80000028, 24, 128, 0)
    cpu = (0x0100000C, 0) if arm else (0x01000007, 3)
    return struct.pack("<LLLLLLLL", 0xFEEDFACF, *cpu, 2, 2, 96, 0x85, 0) + segment + entry + b"\x31\xc0\xc3".ljust(64)


def mach_o_fat() -> bytes:
    """A macOS program for two processors."""
    parts = (mach_o(), mach_o(arm=True))
    places = (4096, 8192)
    head = struct.pack(">LL", 0xCAFEBABE, 2)
    for part, place, cpu in zip(parts, places, ((0x01000007, 3), (0x0100000C, 0)), strict=True):
        head += struct.pack(">LLLLL", *cpu, place, len(part), 12)
    return head.ljust(4096, b"\0") + parts[0].ljust(4096, b"\0") + parts[1]


def java_class() -> bytes:
    """An empty Java class."""

    def utf8(text: str) -> bytes:
        return struct.pack(">BH", 1, len(text)) + text.encode()

    pool = struct.pack(">BH", 7, 2) + utf8("Inert") + struct.pack(">BH", 7, 4) + utf8("java/lang/Object")
    return struct.pack(">LHHH", 0xCAFEBABE, 0, 52, 5) + pool + struct.pack(">HHHHHHH", 0x21, 1, 3, 0, 0, 0, 0)


def dex() -> bytes:
    """An empty Android program: header and map."""
    map_list = struct.pack("<L", 2) + struct.pack("<HHLL", 0, 0, 1, 0) + struct.pack("<HHLL", 0x1000, 0, 1, 0x70)
    size = 0x70 + len(map_list)
    rest = struct.pack("<LLLLLL", size, 0x70, 0x12345678, 0, 0, 0x70) + bytes(12 * 4)
    rest += struct.pack("<LL", len(map_list), 0x70) + map_list
    signed = hashlib.sha1(rest).digest() + rest
    return b"dex\n035\0" + struct.pack("<L", zlib.adler32(signed)) + signed


def wasm() -> bytes:
    """A WebAssembly module with one function."""
    sections = b"\x01\x04\x01\x60\0\0" + b"\x03\x02\x01\0" + b"\x07\x09\x01\x05inert\0\0" + b"\x0a\x04\x01\x02\0\x0b"
    return b"\0asm\x01\0\0\0" + sections


def com() -> bytes:
    """A DOS program without a header: prints a word and ends."""
    return b"\xeb\x08inert\r\n$\xb4\x09\xba\x02\x01\xcd\x21\xb8\x00\x4c\xcd\x21"


# -- scripts

SCRIPTS: Mapping[str, bytes] = MappingProxyType(
    {
        "batch": b"@echo off\r\nsetlocal\r\nset WORD=inert\r\nif exist %TEMP%\\inert.txt goto end\r\n"
        b"echo %WORD%\r\n:end\r\nexit /b 0\r\n",
        "powershell": b"$ErrorActionPreference = 'Stop'\r\n$client = New-Object System.Net.WebClient\r\n"
        b"Write-Output 'inert'\r\nexit 0\r\n",
        "powershell-call": b'powershell.exe -NoProfile -ExecutionPolicy Bypass -Command "Write-Output inert"\r\n',
        "vbs": b'Option Explicit\r\nDim shell\r\nSet shell = CreateObject("WScript.Shell")\r\n'
        b'WScript.Echo "inert"\r\nWScript.Quit 0\r\n',
        "jscript": b'var shell = new ActiveXObject("WScript.Shell");\r\nWScript.Echo("inert");\r\nWScript.Quit(0);\r\n',
        "hta": b'<html><head><title>inert</title><HTA:APPLICATION ID="inert" />\r\n'
        b'<script language="VBScript">\r\nMsgBox "inert"\r\n</script></head></html>\r\n',
        "php": b'<?php $word = $_GET["inert"] ?? "inert"; echo htmlspecialchars($word); ?>\n',
        "shell": b"#!/bin/sh\nset -e\necho inert\nexit 0\n",
        "shell-bare": b"export WORD=inert\nif [ -z \"$WORD\" ]; then\n  echo none >/dev/null\nfi\n"
        b"cd /tmp && echo $WORD | sh -c cat\nexit 0\n",
        "bash-env": b"#!/usr/bin/env bash\nfor word in inert; do echo \"$word\"; done\nexit 0\n",
        "python": b"#!/usr/bin/env python3\nimport os, sys\nprint('inert', os.name)\nsys.exit(0)\n",
        "perl": b"#!/usr/bin/perl -w\nuse strict;\nprint \"inert\\n\";\nexit 0;\n",
        "html": b"<!DOCTYPE html>\n<html><head><title>inert</title></head><body><script>var inert = 1;</script>"
        b"</body></html>\n",
        "html-bare": b"<html><body onload=\"inert=1\"><iframe src=\"about:blank\"></iframe></body></html>\n",
        "svg": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><script>inert = 1</script></svg>\n',
        "rtf": b"{\\rtf1\\ansi\\deff0{\\object\\objemb{\\*\\objclass Package}{\\*\\objdata 01050000696e6572}}inert}\n",
        "mhtml": b"MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=\"inert\"; type=\"text/html\"\r\n\r\n"
        b"--inert\r\nContent-Type: text/html\r\nContent-Location: file:///inert.htm\r\n\r\n"
        b"<html><body>inert</body></html>\r\n--inert--\r\n",
    }
)  # fmt: skip


# -- documents


def pdf(*extra: bytes, before: bytes = b"") -> bytes:
    """A PDF of one empty page; ``extra`` are entries of its catalog."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R " + b" ".join(extra) + b" >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>",
        b"<< /Type /EmbeddedFile /Length 5 >>\nstream\ninert\nendstream",
    ]
    out = bytearray(before + b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out) - len(before))
        out += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    table = len(out) - len(before)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(out)


PDF_SCRIPT = b"/OpenAction << /S /JavaScript /JS (var inert = 1;) >>"
PDF_LAUNCH = b"/OpenAction << /S /Launch /F (inert.exe) /Win << /F (inert.exe) >> >>"
PDF_EMBEDDED = (
    b"/Names << /EmbeddedFiles << /Names [(inert.exe) << /Type /Filespec /F (inert.exe) /EF << /F 4 0 R >> >>] >> >>"
)


def lnk() -> bytes:
    """A Windows shortcut to nothing, with arguments."""
    head = struct.pack("<L", 0x4C) + bytes.fromhex("0114020000000000c000000000000046")
    head += struct.pack("<LL8x8x8xLLLH10x", 0x2 | 0x4 | 0x8 | 0x20 | 0x80, 0x20, 0, 0, 1, 0)
    item = b"\x1f\x50" + bytes.fromhex("e04fd020ea3a6910a2d808002b30309d")
    id_list = struct.pack("<H", len(item) + 2) + item + b"\0\0"
    out = head + struct.pack("<H", len(id_list)) + id_list
    for text in ("inert", r".\inert.exe", "/c echo inert"):
        out += struct.pack("<H", len(text)) + text.encode("utf-16-le")
    return out + b"\0\0\0\0"


def chm() -> bytes:
    """A compiled help file: header and directory header."""
    ids = bytes.fromhex("10fd017caa7bd0119e0c00a0c922e6ec") + bytes.fromhex("11fd017caa7bd0119e0c00a0c922e6ec")
    directory = b"ITSP" + struct.pack("<LLLLLLllLLL", 1, 0x54, 10, 0x1000, 2, 1, -1, 0, 0, 1, 0x409)
    directory += bytes.fromhex("6a92025d2e21d0119df900a0c922e6ec") + struct.pack("<Llll", 0x54, -1, -1, -1)
    page = b"PMGL" + struct.pack("<LLll", 0x1000 - 24, 0, -1, -1)
    directory += page.ljust(0x1000, b"\0")
    head = b"ITSF" + struct.pack("<LLLLL", 3, 0x60, 1, 0, 0x409) + ids
    head += struct.pack("<QQQQQ", 0x60, 0x18, 0x78, len(directory), 0x78 + len(directory))
    return head + struct.pack("<LLQQ", 0x1FE, 0, 0x78 + len(directory), 0)[:0x18] + directory


def ole(class_id: bytes = bytes(16), *streams: str) -> bytes:
    """A compound file (MS-CFB) with empty streams: FAT, directory, nothing else."""

    def entry(name: str, kind: int, child: int, clsid: bytes, left: int = -1) -> bytes:
        text = name.encode("utf-16-le") + b"\0\0"
        head = text.ljust(64, b"\0") + struct.pack("<HBBlll", len(text), kind, 1, left, -1, child)
        return head + clsid + struct.pack("<L8x8xLQ", 0, 0xFFFFFFFE, 0)

    names = streams or ("WordDocument",)
    entries = [entry("Root Entry", 5, 1, class_id)]
    entries += [
        entry(name, 2, -1, bytes(16), number + 2 if number + 1 < len(names) else -1)
        for number, name in enumerate(names)
    ]
    head = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    head += struct.pack("<LLLLLLLLL", 0, 1, 1, 0, 0x1000, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    head += struct.pack("<L", 0) + b"\xff" * (108 * 4)
    fat = struct.pack("<LL", 0xFFFFFFFD, 0xFFFFFFFE).ljust(512, b"\xff")
    return head + fat + b"".join(entries).ljust(512, b"\0")[:512]


MSI_CLASS = bytes.fromhex("84100c0000000000c000000000000046")


# -- archives


def zipped(members: Mapping[str, bytes], comment: bytes = b"") -> bytes:
    """A ZIP archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
        archive.comment = comment
    return out.getvalue()


def tar() -> bytes:
    """A TAR archive of one file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo("inert.sh")
        member.size, member.mode = len(SCRIPTS["shell"]), 0o755
        archive.addfile(member, io.BytesIO(SCRIPTS["shell"]))
    return out.getvalue()


def rar4() -> bytes:
    """A RAR archive of the older format with one stored file."""

    def block(kind: int, flags: int, body: bytes, data: bytes = b"") -> bytes:
        rest = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
        return struct.pack("<H", zlib.crc32(rest) & 0xFFFF) + rest + data

    name = b"inert.txt"
    body = struct.pack("<LLBLLBBHL", len(MARK), len(MARK), 2, zlib.crc32(MARK), 0x5A000000, 20, 0x30, len(name), 32)
    return (
        b"Rar!\x1a\x07\0" + block(0x73, 0, bytes(6)) + block(0x74, 0x8000, body + name, MARK) + block(0x7B, 0x4000, b"")
    )


def rar5() -> bytes:
    """A RAR archive of the present format with one stored file."""

    def block(body: bytes, data: bytes = b"") -> bytes:
        sized = bytes([len(body)]) + body
        return struct.pack("<L", zlib.crc32(sized)) + sized + data

    name = b"inert.txt"
    file = bytes([2, 2, len(MARK), 4, len(MARK), 0x20]) + struct.pack("<L", zlib.crc32(MARK))
    file += bytes([0, 1, len(name)]) + name
    return b"Rar!\x1a\x07\x01\0" + block(bytes([1, 0, 0])) + block(file, MARK) + block(bytes([5, 0, 0]))


def seven_zip() -> bytes:
    """A 7z archive without files: signature header and an empty header."""
    header = b"\x01\x05\0\0"
    packed = b""
    start = struct.pack("<QQL", len(packed), len(header), zlib.crc32(header))
    return b"7z\xbc\xaf\x27\x1c\0\x04" + struct.pack("<L", zlib.crc32(start)) + start + packed + header


def cab() -> bytes:
    """A cabinet of one stored file."""
    name = b"inert.txt\0"
    files_at = 36 + 8
    data_at = files_at + 16 + len(name)
    total = data_at + 8 + len(MARK)
    head = b"MSCF" + struct.pack("<LLLLLBBHHHHH", 0, total, 0, files_at, 0, 3, 1, 1, 1, 0, 1, 0)
    folder = struct.pack("<LHH", data_at, 1, 0)
    file = struct.pack("<LLHHHH", len(MARK), 0, 0, 0x5A21, 0, 0x20) + name
    return head + folder + file + struct.pack("<LHH", 0, len(MARK), len(MARK)) + MARK


# -- disks


def iso9660() -> bytes:
    """What an ISO 9660 image has from its sector 16 on: primary descriptor, terminator, root directory."""

    def both(number: int, code: str) -> bytes:
        return struct.pack("<" + code, number) + struct.pack(">" + code, number)

    root = bytes([34, 0]) + both(18, "L") + both(2048, "L") + bytes(7) + bytes([2, 0, 0]) + both(1, "H") + b"\x01\0"
    primary = b"\x01CD001\x01\0" + b"INERT".ljust(32) + b"INERT".ljust(32) + bytes(8) + both(20, "L") + bytes(32)
    primary += both(1, "H") + both(1, "H") + both(2048, "H") + both(10, "L") + struct.pack("<LL", 19, 0)
    primary += struct.pack(">LL", 19, 0) + root + b" " * 623 + b"0" * 16 + b"\0" + b"0" * 16 + b"\0"
    primary += b"0" * 16 + b"\0" + b"0" * 16 + b"\0" + b"\x01"
    directory = root + bytes([34, 0]) + root[2:33] + b"\x01"
    sectors = (primary, b"\xffCD001\x01", directory, b"\x01\0" + struct.pack("<LH", 18, 1) + b"\0\0")
    return b"".join(sector.ljust(2048, b"\0") for sector in sectors)


def iso_image() -> bytes:
    """A whole ISO 9660 image."""
    return bytes(32768) + iso9660()


def vhd() -> bytes:
    """A fixed virtual disk of one sector."""
    head = b"conectix" + struct.pack(
        ">LLQL4sL4sQQ", 2, 0x10000, 0xFFFFFFFFFFFFFFFF, 0, b"win ", 0xA0000, b"Wi2k", 512, 512
    )
    head += struct.pack(">HBBL", 1, 1, 1, 2)
    identity = hashlib.sha1(MARK).digest()[:16]
    total = ~sum(head + identity) & 0xFFFFFFFF
    return bytes(512) + (head + struct.pack(">L", total) + identity).ljust(512, b"\0")


def dmg() -> bytes:
    """The end of an Apple disk image, with its property list before it."""
    listing = b'<?xml version="1.0"?><plist version="1.0"><dict><key>resource-fork</key><dict/></dict></plist>'
    koly = b"koly" + struct.pack(">LLLQQQQQLL", 4, 512, 1, 0, 0, 0, 0, 0, 1, 1) + bytes(16)
    koly += struct.pack(">LL", 2, 32) + bytes(128) + struct.pack(">QQ", 0, len(listing)) + bytes(120)
    koly += struct.pack(">LL", 2, 32) + bytes(128) + struct.pack(">LQ", 1, 1)
    return listing + koly.ljust(512, b"\0")


def qcow2() -> bytes:
    """The header of a QEMU disk."""
    return struct.pack(">4sLQLLQLLQQLLQ", b"QFI\xfb", 2, 0, 0, 16, 1 << 20, 0, 1, 65536, 131072, 1, 0, 0).ljust(
        512, b"\0"
    )


def vmdk() -> bytes:
    """The header of a VMware disk."""
    head = struct.pack("<4sLLQQQQLQQQB4s", b"KDMV", 1, 3, 2048, 128, 1, 20, 512, 21, 26, 128, 0, b"\n \r\n")
    return head.ljust(512, b"\0") + b'# Disk DescriptorFile\nversion=1\nCID=fffffffe\ncreateType="monolithicSparse"\n'


_CLASSES = {"META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\r\nMain-Class: Inert\r\n\r\n", "Inert.class": java_class()}
_ANDROID = {"AndroidManifest.xml": b"\x03\0\x08\0" + bytes(12), "classes.dex": dex()}
_OFFICE = {
    "[Content_Types].xml": b'<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/'
    b'content-types"><Default Extension="bin" ContentType="application/vnd.ms-office.vbaProject"/></Types>',
    "word/document.xml": b"<w:document/>",
    "word/vbaProject.bin": ole(bytes(16), "VBA"),
}


def _payloads() -> tuple[Payload, ...]:
    programs = {
        "pe64": pe,
        "pe32-dll": lambda: pe(is_64=False, dll=True),
        "dos-exe": dos_exe,
        "elf64": elf,
        "elf32-mips": lambda: elf(bits=32, big=True, machine=8),
        "elf64-so-arm": lambda: elf(machine=183, kind=3),
        "mach-o": mach_o,
        "mach-o-fat": mach_o_fat,
        "java-class": java_class,
        "dex": dex,
        "wasm": wasm,
        "com": com,
        "lnk": lnk,
        "chm": chm,
        "ole": ole,
        "ole-macros": lambda: ole(bytes(16), "WordDocument", "VBA"),
        "msi": lambda: ole(MSI_CLASS, "\u4840\u3f3f"),
    }
    documents = {
        "pdf": pdf,
        "pdf-javascript": lambda: pdf(PDF_SCRIPT),
        "pdf-launch": lambda: pdf(PDF_LAUNCH),
        "pdf-embedded": lambda: pdf(PDF_EMBEDDED),
        "pdf-late": lambda: pdf(PDF_SCRIPT, before=b"\n" * 700),
    }
    archives = {
        "zip": lambda: zipped({"inert.txt": MARK, "inert.exe": pe()}),
        "zip-comment": lambda: zipped({"inert.txt": MARK}, b"inert" * 20),
        "jar": lambda: zipped(_CLASSES),
        "apk": lambda: zipped(_ANDROID),
        "docm": lambda: zipped(_OFFICE),
    }
    wrapped = {"rar4": rar4, "rar5": rar5, "7z": seven_zip, "cab": cab, "tar": tar}
    return (
        *(Payload(name, "program", make) for name, make in programs.items()),
        *(Payload(name, "script", lambda text=text: text) for name, text in SCRIPTS.items()),
        *(Payload(name, "document", make) for name, make in documents.items()),
        *(Payload(name, "archive", make, at_end=True) for name, make in archives.items()),
        *(Payload(name, "archive", make) for name, make in wrapped.items()),
        Payload("iso9660", "disk", iso_image),
        Payload("vhd", "disk", vhd, at_end=True),
        Payload("dmg", "disk", dmg, at_end=True),
        Payload("qcow2", "disk", qcow2),
        Payload("vmdk", "disk", vmdk),
    )


PAYLOADS: tuple[Payload, ...] = _payloads()

ENCODED_KINDS = ("pe64", "elf64", "java-class", "zip", "pdf-javascript", "7z", "vbs", "powershell", "shell", "html")
"""Those of which encoded copies are hidden as well."""


def xored(data: bytes, key: int = 0x5A) -> bytes:
    """``data`` with every byte XORed with one."""
    return bytes(byte ^ key for byte in data)


ENCODINGS: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {
        "base64": base64.b64encode,
        "base64-lines": lambda data: base64.encodebytes(data).replace(b"\n", b"\r\n"),
        "hex": lambda data: data.hex().encode(),
        "hex-upper": lambda data: data.hex().upper().encode(),
        "xor": xored,
        "xor-ff": lambda data: xored(data, 0xFF),
    }
)


def encoded_payloads() -> tuple[Payload, ...]:
    """Payloads encoded once."""
    by_name = {payload.name: payload for payload in PAYLOADS}
    return tuple(
        Payload(f"{name}.{encoding}", f"encoded {by_name[name].kind}", lambda n=name, e=encode: e(by_name[n].make()))
        for name in ENCODED_KINDS
        for encoding, encode in ENCODINGS.items()
    )
