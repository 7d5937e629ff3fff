"""What TLS is tried with: an Order service over https, one that has no manners, and certificates as files."""

import json
import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from trustme import CA


class SecureOrder(ThreadingHTTPServer):
    """An Order service over https, as much of it as is called; keeps what it was told.

    Attributes:
        context: its side of TLS; a certificate loaded later is that of later connections.
        puts: how many PUTs arrived.
        shown: the common names of the clients' certificates.
        hangs_up: it does so when a PUT was read.
    """

    daemon_threads = True
    name = "order"

    def __init__(self, certificate: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Orders)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        self._states: dict[int, str] = {}
        self.puts = 0
        self.shown: set[str] = set()
        self.hangs_up = False
        self.socket = self.context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://localhost:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def tell(self, order_id: int, state: str) -> None:
        """Keep an order's state."""
        self._states[order_id] = state

    def states(self) -> dict[int, str]:
        """Return the newest state of each order that was told."""
        return self._states

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of callers that did not trust us, or that we do not."""


class _Orders(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: SecureOrder
    connection: ssl.SSLSocket

    def do_PUT(self) -> None:  # the standard library's name
        """Keep the state."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.puts += 1
        if self.server.hangs_up:
            self.close_connection = True
            return
        if (shown := self.connection.getpeercert(binary_form=True)) is not None:
            subject = x509.load_der_x509_certificate(shown).subject
            self.server.shown.add(str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value))
        self.server.tell(self._order_id(), body["payment_status"])  # last: tests wait for it
        self._answer()

    def do_GET(self) -> None:  # the standard library's name
        """Say the state."""
        self._answer()

    def _order_id(self) -> int:
        return int(self.path.split("/")[2])

    def _answer(self) -> None:
        order_id = self._order_id()
        body = json.dumps({"id": order_id, "status": self.server.states().get(order_id)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Rude:
    """A server that accepts connections, and then hangs up or says nothing."""

    def __init__(self, *, hangs_up: bool) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self._listener.getsockname()[1]}"
        self._hangs_up = hangs_up
        self._accepted: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                if self._hangs_up:
                    accepted.close()
                else:
                    self._accepted.append(accepted)

    def close(self) -> None:
        """End."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for each in (self._listener, *self._accepted):
            each.close()


class Files:
    """Certificates as the files that settings name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca = CA()
        self.ca_file = self.trust(self.ca)

    def write(self, name: str, pem: bytes) -> Path:
        """Write a file."""
        file = self._folder / name
        file.write_bytes(pem)
        return file

    def trust(self, ca: CA, name: str = "ca.pem") -> Path:
        """Write a CA's certificate, for those who are to trust it."""
        return self.write(name, ca.cert_pem.bytes())

    def issue(self, *hosts: str, by: CA | None = None, name: str = "server.pem", **more: Any) -> Path:
        """Write a certificate of these hosts, with its key."""
        leaf = (by or self.ca).issue_cert(*hosts, **more)
        return self.write(name, leaf.private_key_and_cert_chain_pem.bytes())


def home_made(folder: Path) -> tuple[Path, Path]:
    """Make a CA and a certificate of localhost with openssl's shortest commands: no key identifiers.

    Python 3.13 refuses these unless told otherwise.
    """

    def issue(
        name: str, by: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
    ) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, by)]),
            subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(days=1),
            not_valid_after=now + timedelta(days=1),
        )
        if name == by:
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=False)
        else:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_file, certificate = folder / "home-made-ca.pem", folder / "home-made.pem"
    ca_file.write_bytes(issue("home-made", "home-made", ca_key, ca_key))
    certificate.write_bytes(
        issue("localhost", "home-made", key, ca_key)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return ca_file, certificate
