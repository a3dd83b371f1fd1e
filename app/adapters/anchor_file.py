"""Anchors in a folder outside the database: JSON lines, flushed to the disk, in numbered files of bounded size."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from app.data_plane.audit.anchors import Entry, Line, Position, Written, read_line, write_line
from app.data_plane.audit.verify import FoundLine
from app.kernel.errors import TransientError

MOST_BYTES = 64 * 1024 * 1024
"""When a new file is begun; a line is never divided."""
_PIECE = 256 * 1024
_SUFFIX = ".jsonl"


class AnchorFolder:
    """``Anchors`` in files. Every append is under a lock of the folder, whoever appends.

    Args:
        folder: made when something is first appended.
    """

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self.folder = folder
        self._most_bytes = most_bytes

    def position(self) -> Position | None:
        """What has been seen, according to the last whole line.

        Raises:
            TransientError: the folder cannot be read.
        """
        with _told(self.folder):
            raw = self._last()
        return read_line(raw).position if raw is not None else None

    def append(self, entries: Iterable[Entry]) -> Written:
        """Write lines and flush them to the disk; what a crash left of a line stays, on a line of its own.

        Raises:
            TransientError: the folder cannot be written; whole lines that were written before stay.
        """
        waiting = iter(entries)
        first = next(waiting, None)
        if first is None:
            return Written(0, 0)
        lines = heads = 0
        with _told(self.folder):
            self._make()
            with self._locked():
                previous = self._last()
                for entry in chain((first,), waiting):
                    previous = write_line(entry, previous)
                    self._write(previous)
                    lines += 1
                    heads += len(entry.heads)
                _flush(_files(self.folder)[-1])
        return Written(lines, heads)

    def as_of_now(self) -> AnchorsAsOfNow:
        """The lines that are there now, and those that are appended after it. Raises TransientError."""
        with _told(self.folder):
            return AnchorsAsOfNow(self.folder, {path: path.stat().st_size for path in _files(self.folder)})

    def _make(self) -> None:
        if not self.folder.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            _flush(self.folder.parent)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / "lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _last(self) -> bytes | None:
        for path in reversed(_files(self.folder)):
            if (raw := _last_whole_line(path)) is not None:
                return raw
        return None

    def _write(self, raw: bytes) -> None:
        files = _files(self.folder)
        path = files[-1] if files else None
        if path is None or path.stat().st_size >= self._most_bytes:
            number = int(path.stem) + 1 if path is not None else 1
            if path is not None:
                _flush(path)
            path = self.folder / f"{number:06}{_SUFFIX}"
            path.touch(exist_ok=False)
            _flush(self.folder)
        with path.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            cut_off = file.tell() > 0 and not _ends_a_line(file)
            file.seek(0, os.SEEK_END)
            file.write((b"\n" if cut_off else b"") + raw + b"\n")


class AnchorsAsOfNow:
    """``WrittenAnchors`` of a folder: ``sizes`` says how long each file was."""

    def __init__(self, folder: Path, sizes: Mapping[Path, int]) -> None:
        self._folder = folder
        self._sizes = sizes

    @property
    def files(self) -> int:
        """How many there are."""
        return len(self._sizes)

    def lines(self) -> Iterator[FoundLine]:
        """Those that were there, one in memory at a time. Raises TransientError."""
        with _told(self._folder):
            for path, size in self._sizes.items():
                yield from _lines(path, 0, size)

    def later_lines(self) -> Iterator[FoundLine]:
        """Those that were appended since. Raises TransientError."""
        with _told(self._folder):
            for path in _files(self._folder):
                yield from _lines(path, self._sizes.get(path, 0), path.stat().st_size)


def _lines(path: Path, start: int, end: int) -> Iterator[FoundLine]:
    with path.open("rb") as file:
        file.seek(start)
        number = 0
        while (left := end - file.tell()) > 0 and (raw := file.readline(left)):
            number += 1
            if text := raw.removesuffix(b"\n"):
                yield FoundLine(f"{path.name} line {number}", text, _parsed(text))


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"[0-9]*{_SUFFIX}"))


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """An error of the file system, in words."""
    try:
        yield
    except OSError as error:
        raise TransientError(
            f"The anchors in {folder} cannot be reached: {error.strerror or type(error).__name__}.",
            "Check that the folder is there, that its disk has room, and that this user may write it.",
        ) from error


def _flush(path: Path) -> None:
    """Have the disk hold a file's content, or the names in a folder (fsync(2))."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parsed(raw: bytes) -> Line | None:
    try:
        return read_line(raw)
    except ValidationError:
        return None


def _ends_a_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _last_whole_line(path: Path) -> bytes | None:
    """The last line that can be read, looking from the end."""
    with path.open("rb") as file:
        start = file.seek(0, os.SEEK_END)
        rest = b""
        while start > 0:
            size = min(_PIECE, start)
            start -= size
            file.seek(start)
            rest = file.read(size) + rest
            lines = rest.split(b"\n")
            # The first piece may begin before what was read: it is whole only at the file's beginning.
            first = 0 if start == 0 else 1
            for raw in reversed(lines[first:]):
                if raw and _parsed(raw) is not None:
                    return raw
            rest = lines[0] if first else b""
    return None
