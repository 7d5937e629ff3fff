"""What is deleted for good, kept in a file: on disk before it is deleted."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from sqlalchemy import RowMapping

from payment.core.units import rfc_3339


class Archive:
    """A file of JSON lines, a row each: its table, its columns. Made when the first row comes.

    Times are RFC 3339 (`created_us` is called `created_at` here), all else is as in the table.

    Args:
        folder: where the file is made.
        now_us: the time, microseconds since the epoch; the file's name has it.
    """

    def __init__(self, folder: Path, now_us: int) -> None:
        self.path = folder / f"payments-{rfc_3339(now_us).replace(':', '')}.jsonl"
        self._file: IO[str] | None = None
        self.rows = 0

    def keep(self, table: str, rows: Iterable[RowMapping]) -> None:
        """Write rows; they may be lost until `sync`.

        Raises:
            OSError: the file cannot be made or written.
        """
        if self._file is None:
            self._file = self._made()
        for row in rows:
            self._file.write(
                json.dumps({"table": table} | dict(_shown(str(name), value) for name, value in row.items()))
                + "\n"
            )
            self.rows += 1

    def sync(self) -> None:
        """Return once all that was written is on disk.

        Raises:
            OSError: it cannot be.
        """
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()

    def _made(self) -> IO[str]:
        """Make the file, for its owner alone; never write into one that is there."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # its name is on disk too
        finally:
            os.close(folder)
        return os.fdopen(descriptor, "w", encoding="utf-8")


def _shown(name: str, value: Any) -> tuple[str, Any]:
    if not name.endswith("_us"):
        return name, value
    return f"{name.removesuffix('_us')}_at", None if value is None else rfc_3339(value)
