"""Benchmarks: how fast the payment service is, beside services that do the same work."""
