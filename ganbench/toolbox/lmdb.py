"""LMDB databases, read page by page: what is cut or damaged is one sentence, where a mapped file ends the process."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import IO, NamedTuple

from ganbench.errors import UserError
from ganbench.toolbox.images import MOST_BYTES, Encoded
from ganbench.toolbox.trees import ImageFiles

_HEADER = 16  # bytes at the start of each page: number, padding, flags, ends of the free space
_META = struct.Struct("<IIQQ" + "IHHQQQQQ" * 2 + "QQ")  # LMDB 0.9 on 64 bits: magic … two databases, last page, number
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_BRANCH, _LEAF, _META_PAGE = 1, 2, 8  # flags of pages
_BIG = 1  # flag of a value that lies in pages of its own
_NOTHING = 2**64 - 1


class _Tree(NamedTuple):
    flags: int
    depth: int
    entries: int
    root: int


class _Damaged(Exception):
    """What is written there cannot be a whole LMDB."""


class _Database:
    """The newest state that a data file holds. Each read is checked against the end of the file."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.size, self._turn = file, os.fstat(file.fileno()).st_size, Lock()
        first = self._meta(0)
        self.page_size = first[4]
        if self.page_size not in [2**k for k in range(9, 17)]:
            raise _Damaged(f"its header tells a page size of {self.page_size}")
        newest = max(first, self._meta(self.page_size), key=lambda meta: meta[-1])
        self.free, self.main = (_Tree(*newest[k + 1 : k + 3], *newest[k + 6 : k + 8]) for k in (4, 12))
        self._measure(newest[-2] + 1)

    def _meta(self, start: int) -> tuple[int, ...]:
        flags = struct.unpack_from("<H", self.read(start, _HEADER), 10)[0]
        meta = _META.unpack(self.read(start + _HEADER, _META.size))
        if not flags & _META_PAGE or meta[:2] != (_MAGIC, _VERSION):
            raise _Damaged("it does not begin as one does")
        return meta

    def _measure(self, pages: int) -> None:
        """Refuse a file shorter than its header says, unless what is missing at its end holds nothing."""
        missing = range(self.size // self.page_size, pages)
        if not missing:
            return
        told = f"it has {self.size:,} bytes of the {pages * self.page_size:,} that its header tells: it was cut"
        try:
            freed = {page for _, value in self.items(self.free) for (page,) in struct.iter_unpack("<Q", value[8:])}
        except (_Damaged, struct.error):
            raise _Damaged(told) from None
        if len(missing) > len(freed) or not freed.issuperset(missing):
            raise _Damaged(told)

    def read(self, start: int, size: int) -> bytes:
        """Return bytes of the file. Raises `_Damaged` where it does not have them all."""
        if start + size > self.size:
            raise _Damaged(f"it ends at byte {self.size:,}, but holds something at {start:,}")
        if size > MOST_BYTES:
            raise _Damaged(f"an entry has {size:,} bytes, which no image has")
        with self._turn:  # several threads read
            self.file.seek(start)
            content = self.file.read(size)
        if len(content) != size:
            raise _Damaged(f"{size:,} bytes at {start:,} are not there any more")
        return content

    def nodes(self, number: int, kind: int) -> tuple[bytes, tuple[int, ...]]:
        """Return a page of a tree and where its nodes begin."""
        page = self.read(number * self.page_size, self.page_size)
        own, flags, lower = struct.unpack_from("<Q2xHH", page)
        if own != number or not flags & kind or not _HEADER <= lower <= self.page_size:
            raise _Damaged(f"page {number:,} is not what the index says")
        places = struct.unpack_from(f"<{(lower - _HEADER) // 2}H", page, _HEADER)
        if not places or max(places) > self.page_size - 8:
            raise _Damaged(f"page {number:,} is not what the index says")
        return page, places

    def leaves(self, tree: _Tree) -> Iterator[int]:
        """Yield the numbers of the leaf pages in the order of the keys."""
        open_pages = [(tree.root, 1)] if tree.root != _NOTHING else []
        while open_pages:
            number, depth = open_pages.pop()
            if depth == tree.depth:
                yield number
                continue
            page, places = self.nodes(number, _BRANCH)
            open_pages += [(_child(page, place), depth + 1) for place in reversed(places)]

    def items(self, tree: _Tree) -> Iterator[tuple[bytes, bytes]]:
        """Yield all keys with their values, read as they come."""
        for key, start, size in self.extents(tree):
            yield key, self.read(start, size)

    def extents(self, tree: _Tree) -> Iterator[tuple[bytes, int, int]]:
        """Yield all keys, and where in the file their values lie: first byte and number of bytes."""
        found = 0
        for number in self.leaves(tree):
            page, places = self.nodes(number, _LEAF)
            found += len(places)
            if found > tree.entries:
                break
            yield from (self.extent(number, page, place) for place in places)
        if found != tree.entries:
            raise _Damaged(f"its index does not lead to the {tree.entries:,} entries that its header tells")

    def extent(self, number: int, page: bytes, place: int) -> tuple[bytes, int, int]:
        """Return the key of a node of a leaf, and where its value lies."""
        low, high, flags, length = struct.unpack_from("<4H", page, place)
        start, size = place + 8 + length, low | high << 16
        if flags & ~_BIG or start + (8 if flags else size) > len(page):
            raise _Damaged(f"page {number:,} holds something else than keys with one value each")
        if flags & _BIG:
            first = struct.unpack_from("<Q", page, start)[0] * self.page_size + _HEADER
        else:
            first = number * self.page_size + start
        if first + size > self.size:
            raise _Damaged(f"it ends at byte {self.size:,}, but holds something at {first:,}")
        return page[place + 8 : start], first, size

    def find(self, key: bytes) -> bytes:
        """Return the value of a key that is there."""
        number = self.main.root
        for _ in range(self.main.depth - 1):
            page, places = self.nodes(number, _BRANCH)
            below = _last(page, places[1:], key) + 1  # the first node of a branch has no key: it is below all others
            number = _child(page, places[below])
        page, places = self.nodes(number, _LEAF)
        found, first, size = self.extent(number, page, places[max(0, _last(page, places, key))])
        if found != key:
            raise _Damaged(f"its index does not lead to {key!r}")
        return self.read(first, size)


def _child(page: bytes, place: int) -> int:
    low, middle, high = struct.unpack_from("<3H", page, place)
    return int(low | middle << 16 | high << 32)


def _last(page: bytes, places: tuple[int, ...], key: bytes) -> int:
    """Return the number of the last node whose key is not above `key`, -1 where there is none."""
    low, high = 0, len(places)
    while low < high:
        middle = (low + high) // 2
        (length,) = struct.unpack_from("<H", page, places[middle] + 6)
        if page[places[middle] + 8 : places[middle] + 8 + length] <= key:
            low = middle + 1
        else:
            high = middle
    return low - 1


@contextmanager
def lmdb_files(folder: Path) -> Iterator[ImageFiles]:
    """Open the LMDB in a folder, its values encoded images, named by their keys; nothing is mapped or locked.

    Raises `UserError` where it is not whole, at once or when a damaged part is come to.
    """
    path = folder / "data.mdb"
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    with file:
        try:
            database = _Database(file)
            if database.main.flags:
                raise _Damaged("its keys are ordered or repeated in a way that no set of images needs")
            names = [key.decode("latin-1") for key, _, _ in database.extents(database.main)]
        except (_Damaged, OSError, struct.error) as error:
            raise UserError(f"{folder} is not a whole LMDB: {error}; replace it") from None

        def find(name: str) -> Encoded:
            try:
                return Encoded(f"{folder}: {name}", database.find(name.encode("latin-1")))
            except (_Damaged, OSError, struct.error) as error:
                raise UserError(f"{folder}: {name} cannot be read ({error}): replace the database") from None

        yield ImageFiles(names, find)
