"""Requests to the console that no browser would send, drawn by chance; a connection for packs of them."""

import socket
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from random import Random

COOKIE = "payment_console"
FORM = "application/x-www-form-urlencoded"
TARGET_MAX_CHARS, FORM_MAX_BYTES = 30_000, 60_000
"""More, with all its headers, would be refused before it gets to the console, and the connection with it."""

PACK_MAX_BYTES = 50_000
"""The server takes what comes in one read for a part of the head that it ends in."""


PAGES = (
    "/console",
    "/console/payments",
    "/console/payments.csv",
    "/console/payments/1",
    "/console/payments/2",
    "/console/notifications",
    "/console/closing",
    "/console/closing.csv",
    "/console/keys",
    "/console/sign-in",
    "/console/sign-out",
    "/console/nothing",
    "/console/static/0123456789abcdef/console.css",
)
ENDLESS = "/console/stream"
"""Never asked for by GET here: its answer would keep all that is behind it in the pack."""


def words(text: str) -> list[str]:
    """Return what stands between the blanks: percent-encoding writes a blank otherwise."""
    return text.split()


METHODS = (
    "GET",
    "GET",
    "GET",
    "HEAD",
    "POST",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PROPFIND",
)
TAILS = [
    *words("/ // /. /.. /../keys %00 %0a %0d%0aX:%20y %2f %5c %ff %ed%a0%80 ;a=b %3Cscript%3E %2e%2e%2f"),
    *words("/%e2%80%ae .csv /1 /-1 /1e3"),
    *("9" * 30, "9" * 5000, "x" * 9000),
]
NUMBERS = [
    *words("0 -1 1 2 007 1e9 0x1f 1.5 +1 %D9%A3 20000 20.000 Rp%2020.000"),
    *(str(2**bits - less) for bits, less in ((31, 0), (53, 1), (53, 0), (63, 0), (64, 0))),
    *("9" * digits for digits in (16, 400, 5000)),
]
DAYS = words("0001-01-01 9999-12-31 9999-12-30 1900-01-01 2026-02-30 2026-11-27 hari%20ini 31/12/9999")
TEXTS = [
    *words("%00 a%00b %ed%a0%80 %ff%fe %e2%80%aefdp.exe %F0%9F%92%A5 % %zz %22 %27 %3D1%2B1 %40SUM(A1)"),
    *words("%0d%0aSet-Cookie:%20fuzz%3D1 %0aLocation:%20//evil.example //evil.example /console/keys"),
    *words("https://evil.example/console %25s%25n%25(id)s %7B%7B7*7%7D%7D ..%2f..%2fetc%2fpasswd"),
    *words("%3Cscript%3Efuzz%3C/script%3E %22%3E%3Cimg%20src%3Dx%20onerror%3Dfuzz%3E '%20OR%201=1--"),
    *("", "A" * 10_000, "x" * 3000, "[]", "null", "true", "yes"),
]
WORDS = [
    *words("paid pending failed refunded cash qris order user dead waiting outage en id"),
    *words("returned booked kept true false"),
]
VALUES = [*NUMBERS, *DAYS, *TEXTS, *WORDS]
ASKED = [
    *words("q order_id user_id status method amount from to cursor date service state cause lang back"),
    *words("reference late"),
    *words("ended said sent limit after do sure q%5B%5D %00"),
    "",
]
DOES = ["", *words("settle late refund tell%20again tell%20all%20again create rotate revoke __class__ drop")]
FIELDS = [
    *words("status sure once amount reason expected_refunded notification service state cause client"),
    *words("reference resolution"),
    *words("scope%20admin scope%20payments:read until overlap_s back token%5B%5D %00"),
]
TYPES = [FORM] * 4 + [
    f"{FORM}; charset=utf-16",
    FORM.upper(),
    "application/json",
    "text/plain",
    "",
    "x" * 999,
]
HEADERS = (
    "HX-Request: true",
    "HX-Target: live",
    "Sec-Fetch-Site: none",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Mode: no-cors",
    "Last-Event-ID: 1",
    f"Last-Event-ID: {'9' * 400}",
    "Last-Event-ID: \xff\xfe",
    "Accept-Language: en;q=0.1, id;q=x, \xff",
    f"Accept-Language: {','.join(['xx;q=0.5'] * 500)}",
    "Accept: text/csv",
    "Accept: application/json",
    "Accept: */*;q=nan",
    "Accept-Encoding: gzip;q=0, br",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Proto: javascript",
    "Forwarded: proto=https;host=evil.example",
    "X-Forwarded-Host: evil.example",
    "X-Request-Id: <script>fuzz</script>",
    "X-Request-Id: two\r\nX-Request-Id: of-them",
    f"X-Request-Id: {'i' * 500}",
    "Idempotency-Key: a b",
    "Idempotency-Key: \xe9",
    "Authorization: Bearer pk_R7mQ2xVb_nothing",
    "Authorization: Basic eDp5",
    "traceparent: 00-0-0-00",
    "Range: bytes=0-0",
    "If-None-Match: *",
    "X-HTTP-Method-Override: DELETE",
    "Content-Encoding: gzip",
)
FOREIGN = ("Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site", "Origin: \xff")


@dataclass(frozen=True)
class Request:
    """A request as it goes over the wire."""

    method: str
    raw: bytes

    def __repr__(self) -> str:
        """Show its beginning: some have 10 KB."""
        return repr(self.raw[:1500])


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def all_of(self, name: str) -> list[str]:
        """Return the values of a header, its name in lower case."""
        return [value for each, value in self.headers if each == name]


def token_of(cookie: str) -> str:
    """Return what the forms of a session send, see `payment.console.sessions`."""
    return sha256(f"form {cookie}".encode()).hexdigest()


class Attacker:
    """Draws requests.

    Args:
        random: draws everything.
        cookies: sessions of somebody who may do all.
        keys: the ids of API keys whose ends nobody minds.
    """

    def __init__(self, random: Random, cookies: Sequence[str], keys: Sequence[str]) -> None:
        self._random = random
        self._cookies = cookies
        self._keys = keys
        self._has_to_sign_in = cookies[0].startswith("s.")

    def without_right(self) -> Request:
        """Return a request that may change nothing, by whose it is, where it comes from or what it says."""
        draw = self._random
        ways = [self._of_a_stranger, self._without_its_token, self._that_reads, self._of_another_site]
        if self._has_to_sign_in:
            ways += [self._of_a_changed_session, self._of_a_visitor]
        return draw.choice(ways)()

    def with_right(self) -> Request:
        """Return a form of somebody who may do all, with its token."""
        cookie = self._random.choice(self._cookies)
        return self._that_is_meant(cookie, token_of(cookie))

    def _that_is_meant(self, cookie: str | None, token: str | None, further: Iterable[str] = ()) -> Request:
        """Return a form that often would change something if it had the right to."""
        # often not a thing but one, or two, of its fields is wrong
        path = self._random.choice(["/console/payments/1", "/console/payments/2", "/console/notifications"])
        path = self._random.choice([path, path, "/console/keys", "/console/keys", self._path("POST")])
        return self._request("POST", path, cookie=cookie, token=token, further=further, types=(FORM,))

    def _meant_or_not(self, cookie: str | None, token: str | None, further: Iterable[str] = ()) -> Request:
        """Return such a form, or anything."""
        if self._random.random() < 0.5:
            return self._that_is_meant(cookie, token, further)
        return self._request(self._method(), cookie=cookie, token=token, further=further)

    def _of_a_stranger(self) -> Request:
        token = self._random.choice([None, "", *(token_of(each) for each in self._cookies), "0" * 64])
        return self._meant_or_not(None, token)

    def _of_a_changed_session(self) -> Request:
        cookie = self._changed(self._random.choice(self._cookies))
        return self._meant_or_not(cookie, token_of(cookie))

    def _of_a_visitor(self) -> Request:
        cookie = f"v.{self._random.choice('aZ09_-') * 22}"
        return self._meant_or_not(cookie, token_of(cookie))

    def _without_its_token(self) -> Request:
        cookie = self._random.choice(self._cookies)
        others = [token_of(each) for each in self._cookies if each != cookie]
        token = self._random.choice([None, "", "%00", "%e9", "x" * 9000, token_of(cookie)[:-1], *others])
        return self._meant_or_not(cookie, token)

    def _that_reads(self) -> Request:
        cookie = self._random.choice(self._cookies)
        return self._request(self._random.choice(["GET", "HEAD"]), cookie=cookie, token=token_of(cookie))

    def _of_another_site(self) -> Request:
        cookie = self._random.choice(self._cookies)
        foreign = self._random.choice(FOREIGN)
        return self._meant_or_not(cookie, token_of(cookie), (foreign,))

    def _request(
        self,
        method: str,
        path: str = "",
        *,
        cookie: str | None,
        token: str | None,
        further: Iterable[str] = (),
        types: Sequence[str] = TYPES,
    ) -> Request:
        draw = self._random
        path = path or self._path(method)
        lines = ["Host: localhost", *further, *draw.sample(HEADERS, draw.choice([0, 0, 1, 3]))]
        cookies = [f"payment_language={draw.choice(VALUES)}"] if draw.random() < 0.2 else []
        cookies += [] if cookie is None else [f"{COOKIE}={cookie}"]
        cookies += (
            [draw.choice(["a", "=", ";;", "\xff=\xfe", 'q="', f"h={'h' * 8000}"])]
            if draw.random() < 0.1
            else []
        )
        if cookies:
            draw.shuffle(cookies)
            lines.append(f"Cookie: {'; '.join(cookies)}")
        query = self._pairs(ASKED, draw.choice([0, 0, 1, 2, 4, 40]))
        form = b""
        if method not in ("GET", "HEAD", "TRACE"):
            form = "&".join(self._form(token)).encode("latin-1")[-FORM_MAX_BYTES:]  # its token stands last
            content_type = draw.choice(types)
            lines += [
                f"Content-Length: {len(form)}",
                *([f"Content-Type: {content_type}"] if content_type else []),
            ]
        elif token is not None:
            query += [f"token={token}", *self._form(token)]
        target = f"{path}?{'&'.join(query)}" if query else path
        head = "\r\n".join([f"{method} {target[:TARGET_MAX_CHARS]} HTTP/1.1", *lines, "", ""])
        return Request(method, head.encode("latin-1") + form)

    def _form(self, token: str | None) -> list[str]:
        draw = self._random
        pairs = [f"do={draw.choice(DOES)}", "sure=yes", f"once=once-{draw.randrange(10**9)}"]
        known = {
            "status": "paid",
            "amount": "1000",
            "expected_refunded": "0",
            "resolution": "returned",
            "notification": "1",
            "client": "kasir-9",
        }
        known |= {
            "scope%20payments:read": "yes",
            "overlap_s": "0",
            "key": draw.choice([*self._keys, "R7mQ2xVb"]),
        }
        pairs += [f"{name}={value}" for name, value in known.items() if draw.random() < 0.8]
        pairs += self._pairs(FIELDS, draw.choice([0, 0, 1, 1, 2, 70]))
        draw.shuffle(pairs)
        if token is not None:
            pairs.append(f"token={token}")  # the last of a name counts
        return pairs

    def _pairs(self, names: Sequence[str], number: int) -> list[str]:
        draw = self._random
        return [f"{draw.choice(names)}={draw.choice(VALUES)}" for _ in range(number)]

    def _method(self) -> str:
        return self._random.choice(METHODS)

    def _path(self, method: str) -> str:
        draw = self._random
        path = draw.choice(PAGES if method == "GET" else (*PAGES, ENDLESS))
        if draw.random() < 0.3:
            at = (
                draw.randrange(len("/console/"), len(path) + 1) if len(path) > len("/console/") else len(path)
            )
            path = path[:at] + draw.choice(TAILS) + draw.choice(["", path[at:]])
        elif draw.random() < 0.1:
            at = draw.randrange(1, len(path))
            path = f"{path[:at]}%{ord(path[at]):02x}{path[at + 1 :]}"
        return path

    def _changed(self, cookie: str) -> str:
        """Return a cookie that is none of ours: a letter, the key or the time is another one."""
        draw = self._random
        at = draw.randrange(len(cookie))
        letter = draw.choice([each for each in "aZ09._-" if each != cookie[at]])
        kind, key_id, began_s, *rest = cookie.split(".")
        return draw.choice(
            [
                cookie[:at] + letter + cookie[at + 1 :],
                cookie[:at],
                cookie + letter,
                ".".join([kind, "AAAAAAAA" if key_id != "AAAAAAAA" else "BBBBBBBB", began_s, *rest]),
                ".".join([kind, key_id, "99999999999", *rest]),
                "",
                "x" * 8000,
                f"v.{'é' * 22}",
            ]
        )


class Wire:
    """A connection that is kept open; who is thrown out comes again.

    Args:
        port: on this machine.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._connect()

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()

    def exchange(self, pack: Sequence[Request]) -> Iterator[tuple[Request, Answer]]:
        """Send requests one behind the other, and yield each with its answer.

        Raises:
            ConnectionError: an answer did not come.
        """
        left = list(pack)
        while left:
            sent = self._send_some(left)
            for request in sent:
                try:
                    answer = self._read(request.method)
                except (OSError, LookupError) as error:
                    raise ConnectionError(f"no answer to {request}") from error
                del left[0]
                yield request, answer
                if "close" in answer.all_of("connection"):
                    self.close()
                    self._connect()
                    break

    def _send_some(self, requests: Sequence[Request]) -> Sequence[Request]:
        """Send the first of these, as many as a server takes at once; return them."""
        sizes = accumulate(len(request.raw) for request in requests)
        number = max(1, bisect_right(list(sizes), PACK_MAX_BYTES))
        self._socket.sendall(b"".join(request.raw for request in requests[:number]))
        return requests[:number]

    def _connect(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=15)
        self._file = self._socket.makefile("rb")

    def _read(self, method: str) -> Answer:
        status = int(self._file.readline().split()[1])
        headers = []
        while line := self._file.readline().decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers.append((name.lower(), value.strip()))
        said = dict(headers)
        body = b""
        if method == "HEAD" or status in {204, 304}:
            pass
        elif said.get("transfer-encoding") == "chunked":
            while size := int(self._file.readline(), 16):
                body += self._file.read(size)
                self._file.readline()
            self._file.readline()
        else:
            body = self._file.read(int(said["content-length"]))
        return Answer(status, headers, body)
