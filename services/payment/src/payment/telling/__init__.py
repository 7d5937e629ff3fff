"""Telling: claims what is due, tells the neighbours, records the results. It may import ledger and below."""
