"""What tests of the commands share: a terminal."""

import re

import pytest


class Terminal:
    """A screen that does what the sequences say which are written here, and fails for any other."""

    def __init__(self, width, height=30):
        self.width, self.height = width, height
        self.rows, self.row, self.column = [""], 0, 0

    def feed(self, text):
        for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)", text):
            found = re.fullmatch(r"\x1b\[([0-9;?]*)([A-Za-z])", part)
            if part == "\r":
                self.column = 0
            elif part == "\n":
                self._down()
            elif found and found[2] == "A":
                self.row = max(0, len(self.rows) - self.height, self.row - int(found[1] or 1))
            elif found and found[1] == "2" and found[2] == "K":
                self.rows[self.row] = ""
            elif found:
                assert found[2] == "m" or found[0] in ("\x1b[?25h", "\x1b[?25l"), repr(part)
            else:
                for char in part:
                    if self.column == self.width:
                        self._down()
                    row = self.rows[self.row].ljust(self.column)
                    self.rows[self.row] = row[: self.column] + char + row[self.column + 1 :]
                    self.column += 1

    def _down(self):
        self.row, self.column = self.row + 1, 0
        if self.row == len(self.rows):
            self.rows.append("")

    @property
    def text(self):
        return [row.rstrip() for row in self.rows if row.strip()]


@pytest.fixture
def terminal_of():
    """Make a terminal of a width and, if need be, a height."""
    return Terminal
