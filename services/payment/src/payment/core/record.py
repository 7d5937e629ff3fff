"""Records: dataclasses that nothing changes. Mypy holds that; at run time it took a tenth of a payment."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:
    from dataclasses import dataclass

    def record(*, frozen: bool, slots: bool) -> Any:
        """Return what makes a record of a class: `dataclass`, without the check of every assignment."""
        return dataclass(slots=slots, unsafe_hash=frozen)


__all__ = ["record"]
