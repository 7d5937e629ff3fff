"""Several processes that serve together: started, kept, renewed and ended in order. Only cli imports it."""
