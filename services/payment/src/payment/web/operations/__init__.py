"""The operations of openapi/payment.yaml, a subject a file. They translate; the rules are in `ledger`."""
