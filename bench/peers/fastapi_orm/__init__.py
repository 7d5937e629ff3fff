"""The peer that most teams would write: FastAPI and the SQLAlchemy ORM."""
