"""What pages load: style, script, icon. Compressed once, named by what they hold, kept by browsers."""

import gzip
import re
from hashlib import sha256
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_TAKES_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))", re.IGNORECASE)
_FOLDER = Path(__file__).parent / "static"


class Files:
    """The files, each at `<prefix>/<hash>/<name>`.

    Args:
        prefix: of their paths.
    """

    def __init__(self, prefix: str) -> None:
        self._urls: dict[str, str] = {}
        self._found: dict[str, tuple[bytes, bytes, str]] = {}
        for file in sorted(_FOLDER.iterdir()):
            if file.suffix not in _TYPES:
                continue
            text = file.read_bytes()
            url = f"{prefix}/{sha256(text).hexdigest()[:16]}/{file.name}"
            self._urls[file.name] = url
            self._found[url] = text, gzip.compress(text, mtime=0), _TYPES[file.suffix]

    def url(self, name: str) -> str:
        """Return where a file is."""
        return self._urls[name]

    def has(self, path: str) -> bool:
        """Say whether there is such a file."""
        return path in self._found

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request for a file."""
        text, compressed, media_type = self._found[scope["path"]]
        headers = {
            "Cache-Control": "public, max-age=31536000, immutable",
            "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }
        if _TAKES_GZIP.search(Headers(scope=scope).get("accept-encoding", "")):
            text = compressed
            headers["Content-Encoding"] = "gzip"
        await Response(text, headers=headers, media_type=media_type)(scope, receive, send)
