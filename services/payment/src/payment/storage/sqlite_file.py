"""SQLite's file: only its owner may read it, another program's is refused, and why it cannot be written."""

import os
import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy.engine import URL

from payment.storage.ownership import ForeignDatabase, refuse_foreign

OWNER_ALONE = 0o600


def file_of(url: URL) -> Path:
    """Return the file that the URL names, where it really lies."""
    name = url.database or ""
    if name.startswith("file:") and url.query.get("uri"):
        name = unquote(urlsplit(name).path)
    return Path(name).resolve()


def make_private(file: Path) -> None:
    """Make a file that is not there yet for its owner alone; SQLite gives its other files the same mode.

    A file that is there is not opened: closing it would release the locks that this process has on it.

    Raises:
        sqlite3.OperationalError: it cannot be made.
    """
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, OWNER_ALONE))
    except FileExistsError:
        pass
    except OSError as error:
        raise sqlite3.OperationalError(f"cannot make {file}: {error.strerror}") from None


def refuse_foreign_file(connection: sqlite3.Connection, file: Path) -> None:
    """Refuse a file of another program before anything is written to it.

    Raises:
        ForeignDatabase: it is one.
    """
    try:
        application_id = connection.execute("PRAGMA application_id").fetchone()[0]
        tables = {
            name
            for (name,) in connection.execute(
                r"SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
                r" AND name NOT LIKE 'sqlite\_%' ESCAPE '\'"
            )
        }
        revision = None
        if "alembic_version" in tables:
            revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise ForeignDatabase(f"{file} is not an SQLite database") from None
        raise
    if application_id:
        raise ForeignDatabase(f"{file} has the application_id {application_id:#x}, which is not ours")
    refuse_foreign(str(file), tables, revision[0] if revision else None)


def why_read_only(file: Path) -> str | None:
    """Return why nothing can be written to the file, None if something can; not where it lies."""
    if not file.exists():
        return f"{file.name} is gone"
    beside = [file.with_name(file.name + suffix) for suffix in ("-wal", "-shm")]
    for each in (file.parent, file, *beside):
        name = f"the folder of {file.name}" if each == file.parent else each.name
        if each.exists() and not os.access(
            each, os.W_OK, effective_ids=os.access in os.supports_effective_ids
        ):
            if os.statvfs(each).f_flag & os.ST_RDONLY:
                return f"{name} is on a file system that can only be read"
            return f"this user may not write to {name}"
    return None
