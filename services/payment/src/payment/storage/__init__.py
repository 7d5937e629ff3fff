"""The tables, and how SQLite and PostgreSQL keep their word about transactions. It may import core."""
