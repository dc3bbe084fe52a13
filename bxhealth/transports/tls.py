"""TLS on a connected stream, with a cause for each way that it can fail.

What a remote node trusts follows buildx's `driver/remote/driver.go` (`loadTLS`): only `cacert`, any certificate
in it being an anchor, and the server's name is checked against its subject alternative names.
"""

from __future__ import annotations

import contextlib
import select
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

from bxhealth.deadline import Deadline
from bxhealth.docker_config import DockerEndpoint, TlsMaterial
from bxhealth.errors import NodeFailure
from bxhealth.model import Cause
from bxhealth.transports.stream import SocketStream, Stream

# X509_V_ERR_… of OpenSSL, x509_vfy.h
_NOT_YET_VALID, _EXPIRED = 9, 10
_HOSTNAME_MISMATCH, _IP_MISMATCH = 62, 64
_FIRST_BYTES = 65536


@dataclass(frozen=True)
class PeerCertificate:
    """The certificate that a TLS endpoint showed, which was found valid."""

    not_after: datetime


class TlsStream(SocketStream):
    """A TLS connection, with the peer's certificate."""

    socket: ssl.SSLSocket
    certificate: PeerCertificate | None = None
    """The peer's certificate; None where it was not verified."""
    _heard = b""
    _has_answered = False

    def recv(self, size: int, deadline: Deadline) -> bytes:
        """See `Stream`."""
        if self._heard:
            data, self._heard = self._heard[:size], self._heard[size:]
        else:
            data = super().recv(size, deadline)
        self._has_answered = self._has_answered or bool(data)
        return data

    def hear_first(self, deadline: Deadline) -> None:
        """Wait for the first bytes of a peer that speaks first, or for its alert, until `deadline`.

        In TLS 1.3 a server judges the client's certificate after the handshake is over for the client. An alert
        that says so would be lost to the reset that follows it if we wrote something meanwhile.
        """
        with contextlib.suppress(TimeoutError):
            while not self._heard:
                deadline.wait_for(self.socket.fileno(), select.POLLIN)
                try:
                    self._heard = self.socket.recv(_FIRST_BYTES)
                    return
                except (ssl.SSLWantReadError, BlockingIOError):
                    continue  # a session ticket came
                except OSError as error:
                    raise self.broken(error) from error

    def broken(self, error: OSError) -> NodeFailure:
        """See `SocketStream`; an end without a word, right after the handshake, is about our certificate."""
        unannounced = isinstance(error, (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError))
        if unannounced and not self._has_answered and self.socket.version() == "TLSv1.3":
            seen = "as a server does that refuses the client's certificate, or wants one"
            return NodeFailure(
                Cause.ENDPOINT_DENIED, f"{self.peer} ended the connection right after the TLS handshake, {seen}"
            )
        return super().broken(error)

    def shake_hands(self, deadline: Deadline) -> None:
        """Do the handshake. Raises `OSError` where the peer does not, and as `Stream.recv` does."""
        while True:
            try:
                self.socket.do_handshake()
            except ssl.SSLWantReadError:
                self.wait(select.POLLIN, deadline)
            except ssl.SSLWantWriteError:
                self.wait(select.POLLOUT, deadline)
            else:
                break
        # now, since OpenSSL forgets it once the connection has failed
        not_after = (self.socket.getpeercert() or {}).get("notAfter")
        if isinstance(not_after, str):
            ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(not_after), timezone.utc)
            self.certificate = PeerCertificate(ends)


def server_name(endpoint: DockerEndpoint) -> str:
    """The name that the certificate has to be for: the configured one, else the endpoint's host."""
    if endpoint.tls and endpoint.tls.server_name:
        return endpoint.tls.server_name
    return urlsplit(endpoint.host).hostname or "localhost"


def context(material: TlsMaterial) -> ssl.SSLContext:
    """An OpenSSL context of this material.

    Raises:
        NodeFailure: a file is missing, not to be read, or not what it should be; names the file.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Go, and so buildx, takes a name from the subject alternative names only
    made.hostname_checks_common_name = False
    if not material.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    elif material.ca:
        # like Go, take every certificate in the file as an anchor, an intermediate one included
        made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        _load(material.ca, "CA certificate", lambda path: made.load_verify_locations(cadata=path.read_text()))
    else:
        made.load_default_certs()
    if material.cert:
        # load_cert_chain does not tell which of the two is missing
        _load(material.cert, "certificate", Path.read_bytes)
        if material.key:
            _load(material.key, "private key", Path.read_bytes)
        _load(
            material.cert,
            "certificate",
            # an encrypted key must never ask for its passphrase
            lambda path: made.load_cert_chain(path, material.key, password=lambda: b""),
        )
    return made


def _load(path: Path, what: str, load: Callable[[Path], object]) -> None:
    try:
        load(path)
    except FileNotFoundError as error:
        raise NodeFailure(Cause.CONFIG_INVALID, f"the {what} {path} is missing") from error
    except ssl.SSLError as error:
        reason = error.reason or error.strerror or str(error)
        raise NodeFailure(Cause.CONFIG_INVALID, f"the {what} {path} cannot be used: {reason}") from error
    except (OSError, ValueError) as error:
        seen = getattr(error, "strerror", None) or "it is not PEM"
        raise NodeFailure(Cause.CONFIG_INVALID, f"the {what} {path} cannot be read: {seen}") from error


def wrap(stream: Stream, context: ssl.SSLContext, name: str, deadline: Deadline) -> TlsStream:
    """Shake hands on a connected `stream`.

    Raises:
        NodeFailure: with `tls_…` for the server's certificate, `not_buildkit` where it speaks no TLS, and
            `daemon_unresponsive` where it says nothing.
        Cancelled: the run was called off.
    """
    if not isinstance(stream, SocketStream):
        raise NodeFailure(Cause.CONFIG_INVALID, f"{stream.peer} has TLS material, which its scheme cannot use")
    try:
        wrapped = TlsStream(
            context.wrap_socket(
                stream.socket,
                server_hostname=name,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,
            ),
            stream.peer,
        )
    except OSError as error:
        stream.close()
        raise _failure(stream, name, error) from error
    except (ValueError, TypeError) as error:
        stream.close()
        raise NodeFailure(Cause.CONFIG_INVALID, f"{name!r} cannot be the name of the server {stream.peer}") from error
    try:
        wrapped.shake_hands(deadline)
    except OSError as error:
        wrapped.close()
        raise _failure(stream, name, error) from error
    except BaseException:
        wrapped.close()
        raise
    return wrapped


def _failure(stream: SocketStream, name: str, error: OSError) -> NodeFailure:
    peer = stream.peer
    if isinstance(error, ssl.SSLCertVerificationError):
        seen = error.verify_message
        if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
            return NodeFailure(Cause.TLS_EXPIRED, f"the certificate of {peer} is not valid now: {seen}")
        if error.verify_code in (_HOSTNAME_MISMATCH, _IP_MISMATCH):
            return NodeFailure(Cause.TLS_NAME_MISMATCH, f"the certificate of {peer} is not for {name!r}: {seen}")
        return NodeFailure(Cause.TLS_UNTRUSTED, f"the certificate of {peer} is not trusted: {seen}")
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) or not isinstance(error, ssl.SSLError):
        return NodeFailure(
            Cause.NOT_BUILDKIT,
            f"{peer} closed the connection during the TLS handshake; it may not speak TLS",
        )
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return NodeFailure(Cause.NOT_BUILDKIT, f"{peer} does not speak TLS ({error.reason})")
    return stream.broken(error)
