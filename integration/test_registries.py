"""`--pull` and `--registry` against Debian's docker-registry, open, locked and stopped."""

import base64
import hashlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from .bxhealth_command import Result, check, run
from .testbed import faults
from .testbed.builders import BUILDX_VERSIONS, Client, Node, unique
from .testbed.hosts import Host
from .testbed.image import WORKING_NODE
from .testbed.packages import Tools
from .testbed.registry import PASSWORD, USER, Registry

both = pytest.mark.parametrize("buildx_version", BUILDX_VERSIONS, indirect=True)

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@pytest.fixture
def registry(tools: Tools, hosts: list[Host], new_directory: Path) -> Iterator[Registry]:
    opened = Registry(tools, new_directory / "open", hosts[:1])
    yield opened
    opened.close()


@pytest.fixture
def locked(tools: Tools, hosts: list[Host], new_directory: Path) -> Iterator[Registry]:
    made = Registry(tools, new_directory / "locked", hosts[:1], locked=True)
    yield made
    made.close()


@pytest.fixture
def builder(client: Client, hosts: list[Host]) -> Iterator[tuple[str, Node]]:
    """A running node that shares its host's network, where the registries are, and declares two platforms.

    The engine in the node, told to have no bridge, has removed that of its host, which needs a new start after it.
    """
    options = {"image": WORKING_NODE, "network": "host"}
    node = Node(unique("node"), hosts[0].endpoint, options, ("linux/amd64", "linux/arm64"))
    name = unique("builder")
    client.create_builder(name, "docker-container", [node])
    check(client, name)
    yield name, node
    client.remove_builder(name)
    hosts[0].kill()
    hosts[0].restart()


class Image:
    """Pushes an image by the registry's API, with a layer that is announced and is not there.

    Whoever fetches a layer fails, so a check that succeeds has fetched metadata only.
    """

    def __init__(self, registry: Registry, name: str, headers: dict[str, str] | None = None) -> None:
        self._base = f"http://{registry.address}"
        self._headers = headers or {}
        self._name = name
        self.reference = f"{registry.address}/{name}"

    def push(self, tag: str, *architectures: str) -> str:
        """Push an index of these architectures, or a lone manifest where it is one, and return its reference."""
        manifests = [self._manifest(architecture) for architecture in architectures]
        if len(manifests) == 1:
            self._put(tag, _MANIFEST, manifests[0])
        else:
            entries = [
                {
                    "mediaType": _MANIFEST,
                    "digest": self._put(_digest(manifest), _MANIFEST, manifest),
                    "size": len(manifest),
                    "platform": {"os": "linux", "architecture": architecture},
                }
                for manifest, architecture in zip(manifests, architectures, strict=True)
            ]
            self._put(tag, _INDEX, _json(schemaVersion=2, mediaType=_INDEX, manifests=entries))
        return f"{self.reference}:{tag}"

    def remove_layers(self, storage: Path) -> None:
        """Take the layers from the registry's storage."""
        for architecture in ("amd64", "arm64"):
            digest = hashlib.sha256(_layer(architecture)).hexdigest()
            for data in storage.glob(f"images/**/blobs/sha256/*/{digest}/data"):
                data.unlink()

    def _manifest(self, architecture: str) -> bytes:
        layer = _layer(architecture)
        config = _json(
            architecture=architecture, os="linux", config={}, rootfs={"type": "layers", "diff_ids": [_digest(layer)]}
        )
        return _json(
            schemaVersion=2,
            mediaType=_MANIFEST,
            config={"mediaType": _CONFIG, "digest": self._blob(config), "size": len(config)},
            layers=[{"mediaType": _LAYER, "digest": self._blob(layer), "size": len(layer)}],
        )

    def _blob(self, content: bytes) -> str:
        location = self._request("POST", f"/v2/{self._name}/blobs/uploads/", b"", "application/octet-stream")
        joint = "&" if "?" in location else "?"
        self._request("PUT", f"{location}{joint}digest={_digest(content)}", content, "application/octet-stream")
        return _digest(content)

    def _put(self, reference: str, kind: str, content: bytes) -> str:
        self._request("PUT", f"/v2/{self._name}/manifests/{reference}", content, kind)
        return _digest(content)

    def _request(self, method: str, where: str, content: bytes, kind: str) -> str:
        url = where if where.startswith("http") else self._base + where
        request = urllib.request.Request(url, content, {**self._headers, "Content-Type": kind}, method=method)
        with urllib.request.urlopen(request) as response:
            return str(response.headers.get("Location", ""))


def _layer(architecture: str) -> bytes:
    return f"a layer for {architecture}".encode()


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _json(**members: object) -> bytes:
    return json.dumps(members).encode()


def login(registry: Registry, user: str = USER, password: str = PASSWORD) -> dict[str, object]:
    """A `config.json` with credentials for a registry."""
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"auths": {registry.address: {"auth": encoded}}}


def basic() -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}


@both
def test_pull_resolves_for_each_platform(
    client: Client, builder: tuple[str, Node], registry: Registry, new_directory: Path
) -> None:
    name, node = builder
    image = Image(registry, "both")
    complete, lone = image.push("1", "amd64", "arm64"), image.push("2", "amd64")
    image.remove_layers(new_directory / "open")
    found = check(client, "--pull", complete, name)
    assert found.status == 0
    assert {pull["status"] for pull in found.checks(node.name, "pull").values()} == {"healthy"}
    assert len(found.checks(node.name, "pull")) == 2
    partial = check(client, "--pull", lone, name)
    assert partial.status == 1
    pulls = {target: pull["cause"] for target, pull in partial.checks(node.name, "pull").items()}
    assert pulls == {f"{lone} (linux/amd64)": None, f"{lone} (linux/arm64)": "platform_missing"}
    absent = check(client, "--pull", f"{registry.address}/both:none", name)
    assert absent.nodes[node.name]["cause"] == "image_not_found"
    index = Image(registry, "index").push("1", "amd64", "s390x")
    assert check(client, "--pull", index, name).nodes[node.name]["cause"] == "platform_missing"


@both
def test_pull_from_a_locked_registry(client: Client, builder: tuple[str, Node], locked: Registry) -> None:
    name, node = builder
    image = Image(locked, "secret", basic()).push("1", "amd64", "arm64")
    anonymous = check(client, "--pull", image, name)
    assert anonymous.status == 1
    assert anonymous.nodes[node.name]["cause"] == "registry_denied"
    client.write_config(login(locked, password="wrong"))
    wrong = check(client, "--pull", image, name)
    assert wrong.nodes[node.name]["cause"] == "registry_denied"
    client.write_config(login(locked))
    assert check(client, "--pull", image, name).status == 0


@both
def test_pull_from_nowhere(client: Client, builder: tuple[str, Node], registry: Registry) -> None:
    name, node = builder
    image = Image(registry, "gone").push("1", "amd64", "arm64")
    registry.close()
    result = check(client, "--pull", image, name)
    assert result.status == 1
    assert result.nodes[node.name]["cause"] == "registry_unreachable"


def client_check(result: Result) -> tuple[str, str | None]:
    (registry,) = result.report["checks"]
    assert registry["name"] == "registry"
    return registry["status"], registry["cause"]


def asked(client: Client, address: str, builder: str, *words: str) -> Result:
    """The result of `--registry`, which shows in every report and on stderr, and holds no secret."""
    environment = {"GITHUB_ACTIONS": "true"}
    result = check(client, f"--registry={address}", "-vv", *words, builder, environment=environment)
    table = run(client, "check", f"--registry={address}", "-vv", builder, environment=environment)
    status, cause = client_check(result)
    if status == "warning":
        assert cause
        for text in (result.stderr, table.stdout, table.stderr):
            assert cause in text
            assert address in text
        assert "::warning title=registry" in result.stderr
    for text in (result.stdout, result.stderr, table.stdout, table.stderr):
        assert PASSWORD not in text
        assert base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode() not in text
    return result


def test_registry_with_credentials(client: Client, builder: tuple[str, Node], locked: Registry) -> None:
    name, node = builder
    arguments = (locked.address, name, "--node", node.name)
    missing = asked(client, *arguments)
    assert client_check(missing) == ("warning", "credentials_missing")
    assert missing.status == 0
    assert missing.report["verdict"] == "degraded"
    assert asked(client, *arguments, "--strict").status == 1
    client.write_config(login(locked, password="wrong"))
    wrong = asked(client, *arguments)
    assert client_check(wrong) == ("warning", "registry_denied")
    assert wrong.status == 0
    client.write_config(login(locked))
    assert client_check(asked(client, *arguments)) == ("healthy", None)
    locked.close()
    stopped = asked(client, *arguments)
    assert client_check(stopped) == ("warning", "registry_unreachable")
    assert stopped.status == 0


def test_registry_through_a_credential_helper(client: Client, builder: tuple[str, Node], locked: Registry) -> None:
    name, _ = builder
    answer = json.dumps({"ServerURL": locked.address, "Username": USER, "Secret": PASSWORD})
    # the protocol: the server on stdin, credentials on stdout
    client.add_command("docker-credential-good", f"[ \"$1\" = get ] && read -r server; echo '{answer}'")
    client.add_command("docker-credential-broken", "echo the vault is sealed; exit 1")
    client.add_command("docker-credential-odd", f"echo no json: {PASSWORD}")
    client.add_command("docker-credential-slow", "sleep 60")
    client.add_command("docker-credential-empty", "echo credentials not found in native keychain; exit 1")
    client.write_config({"credsStore": "good"})
    assert client_check(asked(client, locked.address, name)) == ("healthy", None)
    client.write_config({"credsStore": "broken", "credHelpers": {locked.address: "good"}})
    assert client_check(asked(client, locked.address, name)) == ("healthy", None)
    client.write_config({"credsStore": "broken"})
    failed = asked(client, locked.address, name)
    assert client_check(failed) == ("warning", "credential_helper_failed")
    assert "the vault is sealed" in failed.report["checks"][0]["message"]
    for helper in ("odd", "absent"):
        client.write_config({"credsStore": helper})
        assert client_check(asked(client, locked.address, name)) == ("warning", "credential_helper_failed")
    client.write_config({"credsStore": "empty"})
    assert client_check(asked(client, locked.address, name)) == ("warning", "credentials_missing")
    client.write_config({"credsStore": "slow"})
    slow = check(client, f"--registry={locked.address}", "--probe-timeout=2s", name)
    assert client_check(slow) == ("warning", "credential_helper_failed")
    assert slow.seconds < 20


def test_registry_that_is_something_else(client: Client, builder: tuple[str, Node]) -> None:
    name, _ = builder
    with faults.web_server() as web, faults.silent_server() as silent:
        for listener in (web, silent):
            address = listener.endpoint.removeprefix("tcp://")
            client.write_config({"auths": {address: {"auth": base64.b64encode(b"a:b").decode()}}})
            result = check(client, f"--registry={address}", "--probe-timeout=2s", name)
            assert client_check(result) == ("warning", "registry_unreachable")
            assert result.status == 0
            assert result.seconds < 20
