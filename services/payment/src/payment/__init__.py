"""The payment service: it books a payment once and tells Order and User for certain."""

__version__ = "0.1.0"
