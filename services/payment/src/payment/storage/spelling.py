"""Statements in the words of a database's driver, spelled once: SQLAlchemy looks anew at each run."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Dialect, Select, TextClause
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.compiler import SQLCompiler

_NUMBERED = postgresql.psycopg.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]

Spelled = tuple[str, Mapping[str, Any]]
"""A statement in the driver's words, and its parameters."""


def spelled(statement: Select[Any] | TextClause, values: Mapping[str, Any], dialect: Dialect) -> Spelled:
    """Return a statement as the dialect's driver takes it; its parameters have names."""
    compiled = _compiled(statement, dialect)
    if not compiled.post_compile_params:  # no list in it: its text is always the same
        return compiled.string, values
    state = compiled.construct_expanded_state(dict(values))
    return state.statement, state.parameters


@lru_cache(maxsize=64)
def numbered(statement: TextClause) -> tuple[str, Sequence[str]]:
    """Return a statement as PostgreSQL's PREPARE takes it ($1, $2, …), and the names of its parameters."""
    compiled = _compiled(statement, _NUMBERED)
    return compiled.string, compiled.positiontup or ()


@lru_cache(maxsize=64)
def _compiled(statement: Select[Any] | TextClause, dialect: Dialect) -> SQLCompiler:
    compiled = statement.compile(dialect=dialect)
    assert isinstance(compiled, SQLCompiler)
    return compiled
