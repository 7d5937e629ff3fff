"""The least that could be called a payment service: FastAPI, asyncpg, one INSERT."""
