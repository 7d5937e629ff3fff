"""The use cases: the bill, the payment's life, who has to hear of it. It may import storage and core."""
