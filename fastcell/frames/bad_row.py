"""The error that names a row."""

from typing import Any


class BadRowError(ValueError):
    """A cell that can't be taken: which, what it must be and what it is."""

    def __init__(self, column: str, row: int, expected: str, got: str, hint: str = "") -> None:
        super().__init__(f"column {column!r} must be {expected}, got {got} in row {row}{hint}")
        self.column, self.row, self.expected, self.got, self.hint = column, row, expected, got, hint

    def at(self, row: int) -> "BadRowError":
        """The same, said of the row where the user finds it."""
        return BadRowError(self.column, row, self.expected, self.got, self.hint)

    def __reduce__(self) -> Any:  # as an exception is sent by a worker
        return BadRowError, (self.column, self.row, self.expected, self.got, self.hint)
