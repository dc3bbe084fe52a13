"""BuildKit node images, made from Debian's packages alone.

Debian ships no buildkitd, but Docker Engine embeds BuildKit and serves its gRPC API after an HTTP upgrade on
`POST /grpc`. So in the node image `buildkitd` starts a nested engine, and `buildctl` does the upgrade and pipes
bytes. All that buildx asks of a docker-container node is answered, and every gRPC answer is real BuildKit's. These
stand-ins, and one that crashes, are the files in `node_image/`.
"""

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .cache import digest, made_once
from .errors import TestbedError
from .packages import Tools, debian, own_python
from .processes import run

OVERRIDE: Final = "BXHEALTH_TEST_IMAGE"
# The names that the hosts of the tests have the images under.
WORKING_NODE: Final = "bxhealth-test-node"
CRASHING_NODE: Final = "bxhealth-test-crash"
EMULATING_NODE: Final = "bxhealth-test-emulating"
CRASH_LINE: Final = "bxhealth-test: this daemon dies at start"
CRASH_EXIT_CODE: Final = 3
# As qemu names it, and so BuildKit in `buildkit-qemu-*`.
FOREIGN_ARCHITECTURE: Final = "aarch64"
FOREIGN_PLATFORM: Final = "linux/arm64"

_STAND_INS: Final = Path(__file__).parent / "node_image"
_APPLETS: Final = ("sh", "rm", "ps", "kill", "sleep", "cat", "grep", "df", "stat", "ls", "true")


@dataclass(frozen=True)
class Image:
    """An image that a host can be given."""

    source: str
    """The path of a tar, or a name that can be pulled."""

    @property
    def tar(self) -> Path | None:
        """The tar, or None where the image must be pulled."""
        return Path(self.source) if Path(self.source).is_file() else None


def node_image(tools: Tools) -> Image:
    """The image of a node that works: `$BXHEALTH_TEST_IMAGE` if that is set, else made here, in 3 s once."""
    override = os.environ.get(OVERRIDE)
    return Image(override) if override else _made(tools, "node-image", emulator=None)


def emulating_image(tools: Tools) -> Image:
    """A node that builds linux/arm64 by an emulator of its own, which its worker list does not show.

    BuildKit looks for `buildkit-qemu-<architecture>` in its PATH (moby/buildkit,
    solver/llbsolver/ops/exec_binfmt.go), and real images ship it under that name.
    """
    name = f"qemu-{FOREIGN_ARCHITECTURE}-static"
    return _made(tools, "emulating-image", emulator=debian(tools.cache, "qemu-user-static") / "usr/bin" / name)


def crashing_image(tools: Tools) -> Image:
    """A node whose daemon prints a line that ends in `CRASH_LINE` and exits with `CRASH_EXIT_CODE`."""

    def make(tar: Path) -> None:
        root = _Root(tar.with_suffix(".root"))
        root.add_busybox(tools)
        root.add("usr/bin/buildkitd", _STAND_INS / "crash")
        root.pack(tar)

    return Image(str(made_once(tools.cache, "crashing-image", _recipe(), make)))


def _made(tools: Tools, kind: str, emulator: Path | None) -> Image:
    def make(tar: Path) -> None:
        root = _Root(tar.with_suffix(".root"))
        root.add_busybox(tools)
        root.add_python(tools)
        root.add_binary(tools.dockerd)
        for binary in ("containerd", "runc"):
            root.add_binary(tools.which(binary))
        for stand_in in ("buildkitd", "buildctl"):
            root.add(f"usr/bin/{stand_in}", _STAND_INS / stand_in)
        if emulator is not None:
            root.add(f"usr/bin/buildkit-qemu-{FOREIGN_ARCHITECTURE}", emulator)
        root.pack(tar)

    return Image(str(made_once(tools.cache, kind, _recipe(), make)))


def _recipe() -> str:
    """What the images are made by: a changed recipe makes them anew."""
    sources = (Path(__file__), *sorted(_STAND_INS.iterdir()))
    return digest("".join(source.read_text() for source in sources))


class _Root:
    """A root file system in the making."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        shutil.rmtree(directory, ignore_errors=True)  # what an interrupted session left
        for name in ("bin", "usr/bin", "lib64", "tmp", "run", "var/lib", "etc"):
            (directory / name).mkdir(parents=True)

    def add(self, name: str, source: Path) -> None:
        """Add an executable file under `name`."""
        target = self._directory / name
        shutil.copyfile(source, target)
        target.chmod(0o755)

    def add_binary(self, binary: Path) -> None:
        """Add a binary to /usr/bin, with the shared libraries that it loads."""
        self.add(f"usr/bin/{binary.name}", binary.resolve())
        self._add_libraries(binary)

    def add_busybox(self, tools: Tools) -> None:
        """Add the shell and what else a check or a person may run in a node."""
        self.add("bin/busybox", debian(tools.cache, "busybox-static") / "bin/busybox")
        for applet in _APPLETS:
            (self._directory / "bin" / applet).symlink_to("busybox")

    def add_python(self, tools: Tools) -> None:
        """Add a Python for `buildctl`, of the machine's suite, since that one fits the machine's libc."""
        python = own_python()
        parts = (f"{python}-minimal", f"lib{python}-minimal", f"lib{python}-stdlib", "libexpat1", "zlib1g")
        # symlinks=True: Debian's packages link within themselves
        shutil.copytree(debian(tools.cache, *parts), self._directory, symlinks=True, dirs_exist_ok=True)
        self._add_libraries(self._directory / "usr/bin" / python)
        (self._directory / "usr/bin/python3").symlink_to(python)

    def pack(self, tar: Path) -> None:
        """Write the tar that `docker import` takes, and remove the directory."""
        run(["tar", "-C", self._directory, "-cf", tar, "."])
        shutil.rmtree(self._directory)

    def _add_libraries(self, binary: Path) -> None:
        for library in _libraries(binary):
            target = self._directory / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                shutil.copy(library, target)  # follows links: only the name that is loaded matters


def _libraries(binary: Path) -> Iterable[str]:
    """The shared libraries that a binary loads, the dynamic loader included; none for a static one."""
    try:
        listed = run(["ldd", binary])
    except TestbedError:  # ldd fails for a static binary
        return []
    return re.findall(r"(/\S+\.so\S*)", listed)
