"""Expected values: System V ABI, chapters 4 and 5, <elf.h>, and the supplement of each processor."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest

from bxhealth.canary import build, elf

# class (1: 32 bits, 2: 64), data (1: little-endian, 2: big), e_machine (EM_… of elf.h), e_flags
EXPECTED = {
    "386": (1, 1, 3, 0),
    "amd64": (2, 1, 62, 0),
    "arm": (1, 1, 40, 0x05000000),  # EF_ARM_EABI_VER5
    "arm64": (2, 1, 183, 0),
    "loong64": (2, 1, 258, 0x43),  # EF_LOONGARCH_OBJABI_V1 | EF_LOONGARCH_ABI_DOUBLE_FLOAT
    "mips64le": (2, 1, 8, 0x60000000),  # EF_MIPS_ARCH_64
    "ppc64le": (2, 1, 21, 2),  # ELFv2
    "riscv64": (2, 1, 243, 0),
    "s390x": (2, 2, 22, 0),
}
LARGEST_PAGE = 65536
ET_EXEC, EV_CURRENT, PT_LOAD, PF_X, PF_R = 2, 1, 1, 1, 4


@dataclass(frozen=True)
class Header:
    type: int
    machine: int
    version: int
    entry: int
    phoff: int
    shoff: int
    flags: int
    ehsize: int
    phentsize: int
    phnum: int
    shentsize: int
    shnum: int
    shstrndx: int


@dataclass(frozen=True)
class Segment:
    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


def _read(program: bytes) -> tuple[Header, Segment]:
    wide, order = program[4] == 2, "<" if program[5] == 1 else ">"
    form = order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH")
    header = Header(*struct.unpack_from(form, program, 16))
    if wide:
        return header, Segment(*struct.unpack_from(order + "IIQQQQQQ", program, header.phoff))
    kind, offset, vaddr, paddr, filesz, memsz, flags, align = struct.unpack_from(order + "8I", program, header.phoff)
    return header, Segment(kind, flags, offset, vaddr, paddr, filesz, memsz, align)


def test_every_architecture_is_looked_at() -> None:
    assert sorted(elf.ARCHITECTURES) == sorted(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_header(name: str) -> None:
    program = elf.program(name)
    bits, data, machine, flags = EXPECTED[name]
    assert program[:4] == b"\x7fELF"
    assert (program[4], program[5], program[6]) == (bits, data, EV_CURRENT)
    assert not any(program[7:16])  # System V, no version of it, padding
    header, _ = _read(program)
    assert (header.type, header.machine, header.version, header.flags) == (ET_EXEC, machine, EV_CURRENT, flags)
    assert (header.ehsize, header.phentsize) == ((64, 56) if bits == 2 else (52, 32))
    assert header.phnum == 1
    assert (header.shoff, header.shnum, header.shstrndx) == (0, 0, 0)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_only_segment_is_the_whole_file_and_holds_the_entry(name: str) -> None:
    program = elf.program(name)
    header, segment = _read(program)
    assert (segment.type, segment.flags) == (PT_LOAD, PF_R | PF_X)
    assert segment.offset == 0
    assert segment.filesz == segment.memsz == len(program)
    assert segment.vaddr <= header.entry < segment.vaddr + segment.filesz
    # the entry is behind the headers, so that it is code
    assert header.entry - segment.vaddr >= header.phoff + header.phentsize
    # congruent modulo the page size, and loadable where pages are 64 KiB
    assert segment.align % LARGEST_PAGE == 0
    assert (segment.vaddr - segment.offset) % segment.align == 0
    # a page at 0 may not be mapped (vm.mmap_min_addr)
    assert segment.vaddr >= LARGEST_PAGE


@pytest.mark.parametrize("name", [name for name in EXPECTED if name not in ("386", "amd64", "s390x")])
def test_instructions_of_a_fixed_size_are_aligned_and_whole(name: str) -> None:
    program = elf.program(name)
    header, segment = _read(program)
    assert header.entry % 4 == 0
    assert (segment.vaddr + segment.filesz - header.entry) % 4 == 0


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("386", bytes.fromhex("cd80")),  # int 0x80
        ("amd64", bytes.fromhex("0f05")),  # syscall
        ("arm", bytes.fromhex("000000ef")),  # svc 0
        ("arm64", bytes.fromhex("010000d4")),  # svc 0
        ("loong64", bytes.fromhex("00002b00")),  # syscall 0
        ("mips64le", bytes.fromhex("0c000000")),  # syscall
        ("ppc64le", bytes.fromhex("02000044")),  # sc
        ("riscv64", bytes.fromhex("73000000")),  # ecall
        ("s390x", bytes.fromhex("0a01")),  # svc 1, which is exit
    ],
)
def test_it_ends_in_the_system_call(name: str, last: bytes) -> None:
    assert elf.program(name).endswith(last)


@pytest.mark.parametrize("name", EXPECTED)
def test_it_is_tiny(name: str) -> None:
    assert len(elf.program(name)) < 200


@pytest.mark.parametrize(
    ("platform", "name"),
    [
        ("linux/amd64", "amd64"),
        ("linux/amd64/v3", "amd64"),
        ("linux/arm/v6", "arm"),
        ("linux/arm/v7", "arm"),
        ("linux/arm64", "arm64"),
        ("windows/amd64", None),
        ("darwin/arm64", None),
        ("linux/mips", None),
        ("linux", None),
        ("", None),
    ],
)
def test_the_architecture_of_a_platform(platform: str, name: str | None) -> None:
    assert build.architecture(platform) == name
