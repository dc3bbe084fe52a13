"""The toolchain: Docker Engine, its client and two versions of buildx, from the machine and from Debian.

Newer suites' packages are unpacked into the cache, not installed: the machine stays as it is, and no package gets
to start a service. They run beside Debian 12, whose libc (2.36) meets their need (2.34). The exception is runc,
whose newer versions need libc 2.38: it comes from the machine's own suite.
"""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .cache import default_cache, digest, made_once
from .errors import TestbedError
from .processes import run

SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The usual places of the docker client's plugins (docker/cli, cli-plugins/manager/manager_unix.go).
PLUGIN_DIRECTORIES: Final = tuple(
    Path(place)
    for place in (
        "/usr/local/lib/docker/cli-plugins",
        "/usr/local/libexec/docker/cli-plugins",
        "/usr/lib/docker/cli-plugins",
        "/usr/libexec/docker/cli-plugins",
    )
)

# Binary → package, of what must be installed, as it loads libraries or plug-ins from fixed places. None of these
# packages starts a service.
INSTALLED: Final = {"runc": "runc", "iptables": "iptables", "ip": "iproute2"}

INIT: Final = "tini-static"
ENGINE: Final = ("docker.io", "docker-cli", "docker-buildx", "containerd")
# Debian 13 has the oldest buildx that is worth supporting; sid moves, so whatever it has now is the newest.
STABLE_SUITE: Final = "trixie"
NEW_SUITE: Final = "sid"


@dataclass(frozen=True)
class Tools:
    """Where the toolchain's binaries are."""

    cache: Path
    path: str
    """A PATH that finds the engine, its client, runc, iptables and ip."""
    dockerd: Path
    docker: Path
    init: Path
    """A static tini: the first process of a host's pid namespace."""
    buildx: Mapping[str, Path]
    """The docker-buildx plugin, by `new` (the engine's own time) and `stable` (the oldest supported)."""

    def env(self) -> dict[str, str]:
        """This process's environment, without Docker's and bxhealth's variables, and with the toolchain's PATH."""
        foreign = ("DOCKER_", "BUILDX_", "BUILDKIT_", "BXHEALTH_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return {**kept, "PATH": self.path}

    def which(self, binary: str) -> Path:
        """The path of a binary of the toolchain or of the machine.

        Raises:
            TestbedError: there is none.
        """
        return _found(binary, self.path)


def install(cache: Path | None = None) -> Tools:
    """Return the toolchain, and make it first where it is missing: 12 s once, then no time.

    A machine that has an engine, a client and buildx keeps its own; only the older buildx is then fetched.

    Raises:
        TestbedError: not root, or Debian's packages cannot be had.
    """
    if os.geteuid() != 0:
        raise TestbedError("the testbed makes network namespaces and starts Docker engines: it needs root")
    cache = cache or default_cache()
    for binary, package in INSTALLED.items():
        need(binary, package)
    stable = debian(cache, "docker-buildx", suite=STABLE_SUITE)
    path = SYSTEM_PATH
    plugin = _machine_plugin() if _machine_has("dockerd", "docker", "containerd") else None
    unpacked = debian(cache, INIT, *(ENGINE if plugin is None else ()), suite=NEW_SUITE)
    if plugin is None:
        plugin = _plugin_in(unpacked)
        path = f"{unpacked}/usr/sbin:{unpacked}/usr/bin:{path}"
    return Tools(
        cache=cache,
        path=path,
        dockerd=_found("dockerd", path),
        docker=_found("docker", path),
        init=unpacked / "usr/bin/tini-static",
        buildx={"new": plugin, "stable": _plugin_in(stable)},
    )


def debian(cache: Path, *packages: str, suite: str = "") -> Path:
    """Unpack Debian packages, without those they depend on, and return the directory: once, then no time.

    `suite` is a suite of the mirror that the machine uses; without one, the machine's own suite and versions.

    Raises:
        TestbedError: the mirror or a package cannot be had.
    """

    def unpack(directory: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="bxh-debs-") as name:
            debs = Path(name)
            with _apt(suite) as apt:
                _download(apt, [f"{package}/{suite}" if suite else package for package in packages], debs)
            for deb in sorted(debs.glob("*.deb")):
                run(["dpkg", "-x", deb, directory])

    kind = f"{suite or 'own'}-{packages[0]}"
    return made_once(cache, kind, digest(" ".join(packages)), unpack)


def need(binary: str, package: str) -> None:
    """Install a Debian package unless the machine has the binary. Only for packages that start no service.

    Raises:
        TestbedError: apt failed.
    """
    if _machine_has(binary):
        return
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # another apt may be at work: a second session, unattended-upgrades
    install = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", "install", "-y", "--no-install-recommends"]
    _refresh_lists(["apt-get", "-qq"])
    run([*install, package], env=env, seconds=300)


def own_python() -> str:
    """The name of the machine's suite's default Python, such as `python3.11`."""
    found = re.search(r"Depends: (python3\.\d+)-minimal", run(["apt-cache", "depends", "python3-minimal"]))
    if found is None:
        _refresh_lists(["apt-get", "-qq"])
        found = re.search(r"Depends: (python3\.\d+)-minimal", run(["apt-cache", "depends", "python3-minimal"]))
    if found is None:
        raise TestbedError("apt does not know python3-minimal")
    return found.group(1)


def _machine_has(*binaries: str) -> bool:
    return all(shutil.which(binary, path=SYSTEM_PATH) for binary in binaries)


def _machine_plugin() -> Path | None:
    plugins = (directory / "docker-buildx" for directory in PLUGIN_DIRECTORIES)
    return next((plugin for plugin in plugins if os.access(plugin, os.X_OK)), None)


def _plugin_in(root: Path) -> Path:
    return root / "usr/libexec/docker/cli-plugins/docker-buildx"


def _found(binary: str, path: str) -> Path:
    found = shutil.which(binary, path=path)
    if found is None:
        raise TestbedError(f"no {binary} in {path}")
    return Path(found)


@contextlib.contextmanager
def _apt(suite: str) -> Iterator[list[str]]:
    """The start of an apt-get command line that sees one suite of the machine's mirror, freshly listed."""
    # apt's own download user cannot write into a private temporary directory
    apt = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root"]
    if not suite:
        yield apt
        return
    with tempfile.TemporaryDirectory(prefix="bxh-apt-") as name:
        state = Path(name)
        for directory in ("lists/partial", "cache/archives/partial"):
            (state / directory).mkdir(parents=True)
        (state / "sources.list").write_text(f"deb {_mirror()} {suite} main\n")
        apt += ["-o", f"Dir::Etc::SourceList={state}/sources.list", "-o", "Dir::Etc::SourceParts=/dev/null"]
        apt += ["-o", f"Dir::State::Lists={state}/lists", "-o", f"Dir::Cache={state}/cache"]
        _refresh_lists(apt)
        yield apt


def _mirror() -> str:
    """The Debian mirror that the machine's apt is configured with."""
    codename = _os_release().get("VERSION_CODENAME", "")
    query = [
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
        f"Codename: {codename}",
    ]
    mirrors = run(query).split()
    if not mirrors:  # apt learns a codename only from the lists, and a minimal image has none
        _refresh_lists(["apt-get", "-qq"])
        mirrors = run(query).split()
    if not mirrors:
        raise TestbedError(f"apt is not configured with a mirror of Debian {codename}")
    return mirrors[0]


def _refresh_lists(apt: Sequence[str]) -> None:
    # One of the machine's own sources may be unreachable, and another one suffice. What lacks shows in what follows.
    with contextlib.suppress(TestbedError):
        run([*apt, "update"], seconds=300)


def _os_release() -> dict[str, str]:
    pairs = (line.partition("=") for line in Path("/etc/os-release").read_text().splitlines())
    return {name: value.strip('"') for name, _, value in pairs}


def _download(apt: Sequence[str], packages: Sequence[str], directory: Path) -> None:
    try:
        run([*apt, "download", *packages], cwd=directory, seconds=300)
    except TestbedError:  # lists that are missing, or so old that they name versions which are gone
        _refresh_lists(apt)
        run([*apt, "download", *packages], cwd=directory, seconds=300)
