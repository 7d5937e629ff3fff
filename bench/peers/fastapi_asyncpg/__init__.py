"""The fast peer: FastAPI and asyncpg, SQL by hand."""
