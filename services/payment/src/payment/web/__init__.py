"""The API, from the socket to the use case. It may import ledger and what is below, not telling."""
