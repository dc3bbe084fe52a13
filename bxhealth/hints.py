"""What to do next, one sentence a cause; `docs/causes.md` has the long form."""

from __future__ import annotations

from collections.abc import Mapping

from bxhealth.model import Cause

HINTS: Mapping[Cause, str] = {
    Cause.CONFIG_INVALID: "Correct what the message names: a file, an option, an endpoint, or a program that is missing on the host.",
    Cause.ENDPOINT_UNRESOLVABLE: "Check the host's name, or the Docker context's, in the node's endpoint, and this machine's resolver (`getent hosts NAME`).",
    Cause.ENDPOINT_REFUSED: "Start the Docker engine or BuildKit on that host, or correct the node's endpoint and its TLS options.",
    Cause.ENDPOINT_TIMEOUT: "Check that the host is up and not overloaded, and that no firewall drops packets to its port.",
    Cause.ENDPOINT_DENIED: "Give this user access: the docker group, the ssh key and known host, or a client certificate that the server takes.",
    Cause.TLS_UNTRUSTED: "Point the driver option cacert (or the context's CA) at the authority that signed the server's certificate.",
    Cause.TLS_EXPIRED: "Renew the server's certificate, and check both clocks.",
    Cause.TLS_NAME_MISMATCH: "Use a name that is in the certificate, or set the driver option servername to it.",
    Cause.NOT_BUILDKIT: "Correct the endpoint: something else than BuildKit listens there, or TLS is set on one side only.",
    Cause.CONTAINER_MISSING: "Start the node: run without --no-bootstrap, or `docker buildx inspect --bootstrap`.",
    Cause.CONTAINER_EXITED: "Read the container's last log lines, mend what ended it, and start the node again.",
    Cause.CONTAINER_RESTARTING: "Read the container's last log lines: BuildKit ends right after its start, often for its flags, configuration or image.",
    Cause.IMAGE_UNAVAILABLE: "Correct the driver option image, log in to its registry, or load the image on the host.",
    Cause.BOOT_FAILED: "Read what buildx says, or install what is missing; `docker buildx inspect --bootstrap` of this builder repeats it.",
    Cause.DAEMON_UNRESPONSIVE: "Look at the load and the log of BuildKit on that host; restart it if it hangs (`docker restart` of its container), or `docker unpause` it.",
    Cause.NO_WORKERS: "Read BuildKit's log: a worker failed to start, or is switched off in buildkitd.toml.",
    Cause.PLATFORM_MISSING: "Add a node for that platform, install an emulator on one, or use an image that has the platform.",
    Cause.PLATFORM_BROKEN: "Install or repair the emulator for that platform on the node's host, or take the platform from the node.",
    Cause.BUILD_FAILED: "Read what BuildKit says; a full disk, a broken runc or missing privileges are the usual reasons.",
    Cause.IMAGE_NOT_FOUND: "Correct the image's name or tag, or push it.",
    Cause.REGISTRY_DENIED: "Log in with `docker login` as somebody who may read that repository, and check that it exists.",
    Cause.REGISTRY_UNREACHABLE: "Check the registry's name, the way to it (DNS, proxy, firewall) and its certificate.",
    Cause.CREDENTIALS_MISSING: "Log in with `docker login`, or configure a credential helper for that registry.",
    Cause.CREDENTIAL_HELPER_FAILED: "Run the credential helper by hand (`docker-credential-NAME get`) and mend what it says.",
    Cause.DISK_LOW: "Free space or inodes where the node keeps its state (`buildctl prune` in its container), or give it a larger disk.",
    Cause.VERSION_TOO_OLD: "Update BuildKit on the node: its image for docker-container, the engine for docker, buildkitd for remote.",
    Cause.VERSION_SKEW: "Bring all nodes to one BuildKit version, so that a build does not depend on where it lands.",
    Cause.CERTIFICATE_EXPIRING: "Renew the server's certificate before it expires.",
    Cause.DEADLINE_EXCEEDED: "Give the run more time, or find out with -v what is slow.",
    Cause.INTERNAL_ERROR: "This is a defect of bxhealth: please report it with the output of -v.",
}
