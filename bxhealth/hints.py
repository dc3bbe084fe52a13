"""What to do next, one sentence a cause; `docs/causes.md` has the long form."""

from __future__ import annotations

from collections.abc import Mapping

from bxhealth.model import Cause

HINTS: Mapping[Cause, str] = {
    Cause.CONFIG_INVALID: "Correct the file or option that is named, or create the node again with `docker buildx create`.",
    Cause.ENDPOINT_UNRESOLVABLE: "Check the host's name in the node's endpoint, and this machine's resolver (`getent hosts NAME`).",
    Cause.ENDPOINT_REFUSED: "Start the Docker engine or BuildKit on that host, or correct the node's endpoint.",
    Cause.ENDPOINT_TIMEOUT: "Check that the host is up and that no firewall drops packets to its port.",
    Cause.ENDPOINT_DENIED: "Give this user access: the docker group, the ssh key and known host, or a client certificate that the server takes.",
    Cause.TLS_UNTRUSTED: "Point the driver option cacert (or the context's CA) at the authority that signed the server's certificate.",
    Cause.TLS_EXPIRED: "Renew the server's certificate, and check both clocks.",
    Cause.TLS_NAME_MISMATCH: "Use a name that is in the certificate, or set the driver option servername to it.",
    Cause.NOT_BUILDKIT: "Correct the endpoint: something else than BuildKit listens there, or TLS is set on one side only.",
    Cause.CONTAINER_MISSING: "Start the node: run without --no-bootstrap, or `docker buildx inspect --bootstrap`.",
    Cause.CONTAINER_EXITED: "Read the container's log below, mend what ended it, and start the node again.",
    Cause.CONTAINER_RESTARTING: "Read the container's log below: BuildKit ends right after its start, often for its flags, configuration or image.",
    Cause.IMAGE_UNAVAILABLE: "Correct the driver option image, log in to its registry, or load the image on the host.",
    Cause.BOOT_FAILED: "Read buildx's words above; `docker buildx inspect --bootstrap` of this builder repeats them.",
    Cause.DAEMON_UNRESPONSIVE: "Look at the load and the log of BuildKit on that host, and restart it (`docker restart` of its container) if it hangs.",
    Cause.NO_WORKERS: "Read BuildKit's log: a worker failed to start, or is switched off in buildkitd.toml.",
    Cause.PLATFORM_MISSING: "Add a node for that platform, or install an emulator on one (`docker run --privileged tonistiigi/binfmt --install`).",
    Cause.PLATFORM_BROKEN: "Install or repair the emulator for that platform on the node's host, or take the platform from the node.",
    Cause.BUILD_FAILED: "Read BuildKit's words above; a full disk, a broken runc or missing privileges are the usual reasons.",
    Cause.IMAGE_NOT_FOUND: "Correct the image's name or tag, or push it.",
    Cause.REGISTRY_DENIED: "Log in with `docker login` as somebody who may read that repository.",
    Cause.REGISTRY_UNREACHABLE: "Check the registry's name, the node's way to it (DNS, proxy, firewall) and its certificate.",
    Cause.CREDENTIALS_MISSING: "Log in with `docker login`, or configure a credential helper for that registry.",
    Cause.CREDENTIAL_HELPER_FAILED: "Run the credential helper by hand (`docker-credential-NAME get`) and mend what it says.",
    Cause.DISK_LOW: "Free space where the node keeps its state: `docker buildx prune` on it, or a larger disk.",
    Cause.VERSION_TOO_OLD: "Update BuildKit on the node: a newer image for docker-container, a newer engine or buildkitd else.",
    Cause.VERSION_SKEW: "Bring all nodes to one BuildKit version, so that a build does not depend on where it lands.",
    Cause.CERTIFICATE_EXPIRING: "Renew the server's certificate before it expires.",
    Cause.DEADLINE_EXCEEDED: "Give the run a longer --deadline, or find out what is slow with -v.",
    Cause.INTERNAL_ERROR: "This is a defect of bxhealth: please report it with the output of -v.",
}
