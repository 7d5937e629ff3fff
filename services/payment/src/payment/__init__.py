"""The payment service: it books a payment once and tells Order and User for certain."""

__version__: str


def __getattr__(name: str) -> str:
    """Return the version, read when it is asked for: that takes a tenth of the time of `payment --help`."""
    if name != "__version__":
        raise AttributeError(name)
    from importlib.metadata import version  # noqa: PLC0415  # see above

    return version("payment")  # services/payment/pyproject.toml says it, and nothing else does
