"""Stands between Pact's verifier and the service, since the verifier takes no CA of ours.

It adds what a request needs to get there (see `Access`), and passes on what comes, byte for byte.
"""

import contextlib
from collections.abc import Iterator
from http import HTTPStatus

from urllib3.exceptions import HTTPError

from payment_contracts.access import Access
from payment_contracts.loopback import Handler, serve
from payment_contracts.verdict import InvalidRunError

ANSWER_MAX_BYTES = 1024 * 1024
CHUNK_BYTES = 64 * 1024
WITHOUT_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
OF_A_CONNECTION = {
    "connection", "content-length", "keep-alive", "proxy-authenticate", "proxy-authorization", "te",
    "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip
"""Headers that are about one connection (RFC 9110, 7.6.1), and so are not passed on."""


@contextlib.contextmanager
def relay(access: Access, failed: list[str], bodies: list[bytes]) -> Iterator[str]:
    """Give a URL of this machine that leads to the service.

    Args:
        access: how the service is reached.
        failed: why no answer came is noted here.
        bodies: what came is noted here, in order.
    """

    class Relay(Handler):
        def do_GET(self) -> None:  # noqa: N802  # the standard library's name
            """Pass on a request, and its answer."""
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in OF_A_CONNECTION | {"host"}
            }
            try:
                with access.send(self.command, self.path, headers, data=self.body()) as answer:
                    body = bytearray()
                    with contextlib.suppress(HTTPError, OSError):  # cut off: what came is what is judged
                        for chunk in answer.raw.stream(CHUNK_BYTES, decode_content=False):
                            body += chunk
                            if len(body) > ANSWER_MAX_BYTES:
                                break
                    bodies.append(bytes(body))
                    has_body = answer.status_code >= HTTPStatus.OK and answer.status_code not in WITHOUT_BODY
                    self.send_response_only(answer.status_code, answer.reason)
                    for name, value in answer.raw.headers.items():
                        if name.lower() not in OF_A_CONNECTION:
                            self.send_header(name, value)
            except InvalidRunError as error:
                failed.append(str(error))
                self.send_response_only(HTTPStatus.BAD_GATEWAY)
                body, has_body = bytearray(), True
            if has_body:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_DELETE = do_PATCH = do_POST = do_PUT = do_GET  # noqa: N815  # as above

    with serve(Relay) as url:
        yield url
