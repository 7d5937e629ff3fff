"""HTTP/1 answers, as bytes come in."""

from dataclasses import dataclass


class BadAnswerError(Exception):
    """The bytes that came back are not an HTTP/1.1 answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: its status, and whether its connection may be used again."""

    status: int
    keep_alive: bool


def parse_answer(buffer: bytearray, *, at_end: bool = False) -> Answer | None:
    """The answer in `buffer`, or None while a part of it is missing.

    Interim (1xx) answers are cut off the front of `buffer`. `at_end` says that the connection is
    closed, which ends an answer that carries neither `Content-Length` nor chunks.
    """
    while True:
        head_end = buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return None
        body_start = head_end + 4
        head = bytes(buffer[: head_end + 2]).lower()
        if not head.startswith(b"http/1.") or not head[9:12].isdigit():
            raise BadAnswerError("not an HTTP/1 answer")
        status = int(head[9:12])
        if status >= 200:
            break
        del buffer[:body_start]

    keep_alive = head.startswith(b"http/1.1") and _header(head, b"connection") != b"close"
    length = _header(head, b"content-length")
    end: int | None
    if status in (204, 304):
        end = body_start
    elif _header(head, b"transfer-encoding") == b"chunked":
        end = _chunks_end(buffer, body_start)
    elif length is not None and length.isdigit():
        end = body_start + int(length)
    else:
        end = len(buffer) if at_end else None
        keep_alive = False
    if end is None or len(buffer) < end:
        return None
    if len(buffer) > end:
        raise BadAnswerError("bytes after the answer")
    return Answer(status, keep_alive)


def _header(head: bytes, name: bytes) -> bytes | None:
    """The value of a header in a lower-case head, or None."""
    mark = b"\r\n" + name + b":"
    start = head.find(mark)
    if start < 0:
        return None
    start += len(mark)
    return head[start : head.index(b"\r\n", start)].strip()


def _chunks_end(buffer: bytearray, position: int) -> int | None:
    """Where a chunked body that starts at `position` ends, or None while it is not whole."""
    while True:
        line_end = buffer.find(b"\r\n", position)
        if line_end < 0:
            return None
        try:
            size = int(buffer[position:line_end].split(b";")[0], 16)
        except ValueError:
            raise BadAnswerError("bad chunk size") from None
        if size == 0:
            break
        position = line_end + 2 + size + 2
    if buffer[line_end + 2 : line_end + 4] == b"\r\n":
        return line_end + 4
    trailers_end = buffer.find(b"\r\n\r\n", line_end + 2)
    return None if trailers_end < 0 else trailers_end + 4
