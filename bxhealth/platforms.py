"""OCI platforms as text, normalised as containerd does (`platforms/database.go` in containerd/platforms)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_OPERATING_SYSTEMS = {"macos": "darwin"}
_ARCHITECTURES: Mapping[str, tuple[str, str]] = {
    "i386": ("386", ""),
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
_KNOWN = {"386", "amd64", "arm", "arm64", "loong64", "mips", "mipsle", "mips64", "mips64le"}
_KNOWN |= {"ppc64", "ppc64le", "riscv64", "s390", "s390x", "wasm"}
_DEFAULT_VARIANTS = {("amd64", "v1"), ("arm64", "v8"), ("arm64", "8")}
_MAX_LENGTH = 128


def normalise(os: str, architecture: str, variant: str = "") -> str:
    """The one spelling of a platform: `linux/arm64/v8` is `linux/arm64`, `linux/arm` is `linux/arm/v7`."""
    os, architecture, variant = os.lower(), architecture.lower(), variant.lower()
    os = _OPERATING_SYSTEMS.get(os, os)
    if architecture in _ARCHITECTURES:
        architecture, implied = _ARCHITECTURES[architecture]
        variant = implied or variant
    if architecture == "386":
        variant = ""
    if (architecture, variant) in _DEFAULT_VARIANTS:
        variant = ""
    if architecture == "arm":
        variant = f"v{variant}" if variant.isdigit() else (variant or "v7")
    return "/".join(part for part in (os, architecture, variant) if part)


def parse(text: str) -> str:
    """Read `os/arch[/variant]` or, as buildx does, a bare architecture (of linux), and normalise it.

    Raises:
        ValueError: `text` is no platform.
    """
    parts = text.strip().split("/")
    if len(parts) == 1 and parts[0].lower() in (*_KNOWN, *_ARCHITECTURES):
        parts = ["linux", *parts]
    if not 2 <= len(parts) <= 3 or len(text) > _MAX_LENGTH or not all(_is_word(part) for part in parts):
        raise ValueError(f"{text!r} is not a platform such as linux/arm64 or linux/arm/v7")
    return normalise(*parts)


def is_native(platform: str, native: str) -> bool:
    """Whether a host of the platform `native` can execute `platform` by itself, so far as can be told from names.

    386 counts as native to amd64, and arm to arm64, though some arm64 processors cannot execute arm.
    """
    os, architecture = _architecture(platform)
    native_os, native_architecture = _architecture(native)
    return os == native_os and architecture in (native_architecture, _ALSO_EXECUTES.get(native_architecture))


_ALSO_EXECUTES = {"amd64": "386", "arm64": "arm"}


def _architecture(platform: str) -> tuple[str, str]:
    os, _, rest = platform.partition("/")
    return os, rest.partition("/")[0]


def unique(platforms: Iterable[str]) -> tuple[str, ...]:
    """The platforms without repetition, the first of each kept, in order."""
    return tuple(dict.fromkeys(platforms))


def _is_word(part: str) -> bool:
    return bool(part) and all(c.isalnum() or c in "._-" for c in part) and part.isascii()
