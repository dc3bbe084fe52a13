"""Static ELF programs of about 130 bytes that only call exit(0), made from machine code.

Layout: System V ABI, chapter 4 and 5 (ELF header, program header), and each architecture's supplement for
`e_machine` and `e_flags`. System call numbers: Linux, `include/uapi/asm-generic/unistd.h` and `arch/*/…/unistd*`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

_EXECUTABLE, _LOAD, _READ_EXECUTE = 2, 1, 5
_ALIGNMENT = 0x10000
"""The largest page size of any of them, 64 KiB."""


@dataclass(frozen=True)
class _Architecture:
    machine: int
    bits: int
    words: tuple[int, ...] = ()
    """The program as 32-bit instructions, in the byte order of the architecture."""
    code: bytes = b""
    """The program as bytes, where instructions have no fixed size."""
    flags: int = 0
    big_endian: bool = False


_ARCHITECTURES: Mapping[str, _Architecture] = {
    # xor edi, edi; mov eax, 60; syscall
    "amd64": _Architecture(62, 64, code=bytes.fromhex("31ff b83c000000 0f05")),
    # xor ebx, ebx; mov eax, 1; int 0x80
    "386": _Architecture(3, 32, code=bytes.fromhex("31db b801000000 cd80")),
    # mov x0, 0; mov x8, 93; svc 0
    "arm64": _Architecture(183, 64, (0xD2800000, 0xD2800BA8, 0xD4000001)),
    # mov r0, 0; mov r7, 1; svc 0 (EABI version 5)
    "arm": _Architecture(40, 32, (0xE3A00000, 0xE3A07001, 0xEF000000), flags=0x05000000),
    # li r3, 0; li r0, 1; sc (ELFv2)
    "ppc64le": _Architecture(21, 64, (0x38600000, 0x38000001, 0x44000002), flags=2),
    # lghi %r2, 0; svc 1
    "s390x": _Architecture(22, 64, code=bytes.fromhex("a7290000 0a01"), big_endian=True),
    # li a0, 0; li a7, 93; ecall
    "riscv64": _Architecture(243, 64, (0x00000513, 0x05D00893, 0x00000073)),
    # ori $a0, $zero, 0; ori $a7, $zero, 93; syscall 0 (object ABI version 1, double float)
    "loong64": _Architecture(258, 64, (0x03800004, 0x0381740B, 0x002B0000), flags=0x43),
    # daddiu a0, zero, 0; daddiu v0, zero, 5058; syscall (MIPS64)
    "mips64le": _Architecture(8, 64, (0x64040000, 0x640213C2, 0x0000000C), flags=0x60000000),
}

ARCHITECTURES = tuple(_ARCHITECTURES)
"""The architectures, in OCI's names, that there is a program for; `arm` of any variant."""


def program(architecture: str) -> bytes:
    """The executable file for an architecture of `ARCHITECTURES`, of Linux."""
    target = _ARCHITECTURES[architecture]
    order = ">" if target.big_endian else "<"
    code = target.code or struct.pack(f"{order}{len(target.words)}I", *target.words)
    identity = b"\x7fELF" + bytes([target.bits // 32, 2 if target.big_endian else 1, 1]) + bytes(9)
    header, segment = ("HHIQQQIHHHHHH", "IIQQQQQQ") if target.bits == 64 else ("HHIIIIIHHHHHH", "IIIIIIII")
    offset = len(identity) + struct.calcsize(order + header)
    start = offset + struct.calcsize(order + segment)
    base, size = _ALIGNMENT, start + len(code)
    elf = struct.pack(
        order + header,
        _EXECUTABLE,
        target.machine,
        1,
        base + start,
        offset,
        0,
        target.flags,
        offset,
        struct.calcsize(order + segment),
        1,
        0,
        0,
        0,
    )
    place = (0, base, base, size, size)
    order_of_fields = (
        (_LOAD, _READ_EXECUTE, *place, _ALIGNMENT) if target.bits == 64 else (_LOAD, *place, _READ_EXECUTE, _ALIGNMENT)
    )
    return identity + elf + struct.pack(order + segment, *order_of_fields) + code
