"""The neighbours that are told."""

from enum import StrEnum


class Service(StrEnum):
    """A neighbour that is told."""

    ORDER = "order"
    USER = "user"
