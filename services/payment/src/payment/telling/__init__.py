"""The worker: claims what is due, tells Order and User, settles it. It may import ledger and below."""
