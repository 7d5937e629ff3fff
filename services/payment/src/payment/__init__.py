"""The payment service: it books a payment once and tells Order and User for certain."""

from importlib.metadata import version

__version__ = version("payment")  # services/payment/pyproject.toml says it, and nothing else does
