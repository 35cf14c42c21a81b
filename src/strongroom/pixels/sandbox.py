"""What a pixel worker gives up before it looks at a byte: files, sockets, processes, memory, time.

Everything that it will need is loaded by then. After ``lock_in`` the process can compute, and read and write the two
descriptors that it has. Two locks, one behind the other: resource limits (no further descriptor, so no file and no
socket; no file of any size; no core dump, which would hold pixels) and, on x86-64, a seccomp filter that allows the few
system calls that computing takes.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
from struct import Struct
from typing import Final

PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38
PR_SET_SECCOMP: Final = 22
SECCOMP_MODE_FILTER: Final = 2

_AUDIT_ARCH_X86_64: Final = 0xC000003E
_ALLOW: Final = 0x7FFF0000
_KILL: Final = 0x80000000
_EPERM: Final = 0x00050000 | 1
_LOAD: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_INSTRUCTION: Final = Struct("HBBI")

# Numbers of the x86-64 table. Memory, the open descriptors, time, signals of its own, and the end; no open, no socket,
# no clone, no exec, no kill, no ptrace.
_ALLOWED_CALLS: Final = {
    "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11,
    "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "sched_yield": 24, "mremap": 25,
    "madvise": 28, "nanosleep": 35, "getpid": 39, "exit": 60, "getrlimit": 97, "getrusage": 98, "times": 100,
    "sigaltstack": 131, "gettid": 186, "futex": 202, "sched_getaffinity": 204, "clock_gettime": 228,
    "clock_nanosleep": 230, "exit_group": 231, "getrandom": 318, "rseq": 334,
}  # fmt: skip
_PRLIMIT64: Final = 302
"""Allowed for the process itself only: of another one, it could end the server."""
_OFFSET_OF_NUMBER, _OFFSET_OF_ARCHITECTURE, _OFFSET_OF_FIRST_ARGUMENT = 0, 4, 16


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def lock_in(memory_bytes: int) -> None:
    """Give up everything that decoding does not take. ``memory_bytes`` may be taken on top of what is in use now."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    with open("/proc/self/statm", encoding="ascii") as statm:
        taken_bytes = int(statm.read().split()[0]) * resource.getpagesize()
    most = taken_bytes + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    if platform.machine() == "x86_64":
        _filter_calls(libc)


def allow_cpu(more_s: int) -> None:
    """Let the process take ``more_s`` seconds of CPU from now on; then the kernel ends it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used_s = int(usage.ru_utime + usage.ru_stime) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used_s + more_s, resource.RLIM_INFINITY))


def leave() -> None:
    """End the process at once, without what an interpreter does at its end."""
    os._exit(0)


def _filter_calls(libc: ctypes.CDLL) -> None:
    numbers = sorted(_ALLOWED_CALLS.values())
    program = [
        (_LOAD, 0, 0, _OFFSET_OF_ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, _AUDIT_ARCH_X86_64),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _OFFSET_OF_NUMBER),
        (_JUMP_EQUAL, 0, 4, _PRLIMIT64),
        (_LOAD, 0, 0, _OFFSET_OF_FIRST_ARGUMENT),
        (_JUMP_EQUAL, 0, 1, 0),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _EPERM),
    ]
    for index, number in enumerate(numbers):
        program.append((_JUMP_EQUAL, len(numbers) - index, 0, number))
    program += [(_RETURN, 0, 0, _EPERM), (_RETURN, 0, 0, _ALLOW)]
    raw = b"".join(_INSTRUCTION.pack(code, if_true, if_false, value) for code, if_true, if_false, value in program)
    filters = ctypes.create_string_buffer(raw, len(raw))
    handle = _Program(len(program), ctypes.cast(filters, ctypes.c_char_p))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(handle), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "the kernel took no filter of system calls")
