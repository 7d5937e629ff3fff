"""What a stub was told last of each id; with a file it still knows that after a restart."""

import json
from contextlib import suppress
from pathlib import Path

from stub.settings import refuse_to_start


class Memory:
    """The status of every id that was ever told one. Whoever tells holds the stub's lock.

    `file` has a line of JSON for each change; None: what is told is forgotten when the process ends.
    """

    def __init__(self, file: Path | None = None) -> None:
        """Read what was told before; SystemExit(2) with one line on stderr if the file cannot be used."""
        self._states: dict[int, str] = {}
        self._file = None
        if file is None:
            return
        try:
            self._file = file.open("a+", encoding="utf-8")
            self._file.seek(0)
            for line in self._file:
                with suppress(ValueError, KeyError, TypeError):  # cut off when the machine died
                    told = json.loads(line)
                    self._states[told["id"]] = told["status"]
        except (OSError, UnicodeDecodeError) as error:
            refuse_to_start(f"STATES_FILE {file} cannot be used: {error}")

    def status(self, target_id: int) -> str:
        """The status that was told last, else pending."""
        return self._states.get(target_id, "pending")

    def tell(self, target_id: int, status: str) -> None:
        """Remember a status."""
        if self._file and self._states.get(target_id) != status:
            self._file.write(json.dumps({"id": target_id, "status": status}) + "\n")
            self._file.flush()
        self._states[target_id] = status

    def all(self) -> dict[int, str]:
        """A copy of what is known."""
        return self._states.copy()
