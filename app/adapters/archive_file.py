"""Archives as files: JSON lines, compressed, each file under its own digest, whole or not there at all."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from app.data_plane.retention.archive import End, Kept, read_kept, write_end, write_kept
from app.kernel.clock import Clock
from app.kernel.errors import PermanentError, TransientError

SUFFIX = ".jsonl.gz"
_UNFINISHED = "unfinished"
"""What is being written; a crash leaves it, and the next archive begins with it anew."""


class BrokenArchiveError(PermanentError):
    """An archive is not what it was when it was written."""

    code = "broken_archive"


class ArchiveFile:
    """One archive that is being written into ``file``."""

    def __init__(self, folder: Path, path: Path, file: BinaryIO, day: str) -> None:
        self._folder = folder
        self._path = path
        self._file = file
        self._day = day
        # Without a time in it, the same batch makes the same bytes.
        self._lines = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)
        self._digest = sha256()
        self._orchestrations = 0
        self._facts = 0

    def add(self, kept: Kept) -> None:
        """One more orchestration."""
        line = write_kept(kept) + b"\n"
        self._lines.write(line)
        self._digest.update(line)
        self._orchestrations += 1
        self._facts += len(kept.facts)

    def finish(self) -> str:
        """Flush it to the disk and give it its name, which is returned."""
        digest = self._digest.hexdigest()
        self._lines.write(write_end(self._orchestrations, self._facts, digest) + b"\n")
        self.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        name = f"{self._day}-{digest[:16]}{SUFFIX}"
        self._path.replace(self._folder / name)
        _flush_names(self._folder)
        return name

    def close(self) -> None:
        """Nothing more is added. Harmless when it was finished."""
        self._lines.close()


class ArchiveFolder:
    """``Archives`` in a folder, which is made when it is first needed."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self._clock = clock

    @contextmanager
    def begin(self) -> Iterator[ArchiveFile]:
        """A new archive; one that is not finished leaves nothing.

        Raises:
            TransientError: the folder cannot be written.
        """
        day = self._clock.now().date().isoformat()
        path = self.folder / _UNFINISHED
        try:
            if not self.folder.exists():
                self.folder.mkdir(parents=True, exist_ok=True)
                _flush_names(self.folder.parent)
            with path.open("wb") as file:
                archive = ArchiveFile(self.folder, path, file, day)
                try:
                    yield archive
                finally:
                    archive.close()
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise TransientError(
                f"The archive in {self.folder} cannot be written: {error.strerror or type(error).__name__}.",
                "Nothing of this batch was removed. Check that the disk has room and that this user may write there.",
            ) from error


def _flush_names(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_archive(path: Path) -> Iterator[Kept]:
    """The orchestrations of one archive, in order, each checked as it is read: its chains, and what it names.

    Raises:
        BrokenArchiveError: it is not what was written; what was read before the place stands.
        TransientError: it cannot be opened.
    """
    digest, orchestrations, facts = sha256(), 0, 0
    ended: End | None = None
    try:
        with gzip.open(path, "rb") as lines:
            for number, raw in enumerate(lines, 1):
                if ended is not None:
                    raise _broken(path, f"line {number} follows the end")
                line = read_kept(raw)
                if isinstance(line, End):
                    ended = line
                    continue
                digest.update(raw)
                orchestrations, facts = orchestrations + 1, facts + len(line.facts)
                if (fault := line.fault()) is not None:
                    raise _broken(path, f"line {number}, {fault}")
                yield line
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
        raise _broken(path, f"it cannot be read ({type(error).__name__})") from error
    except OSError as error:
        raise TransientError(
            f"The archive {path} cannot be read: {error.strerror}.", "Check its name."
        ) from error
    if ended != End(orchestrations=orchestrations, facts=facts, digest=digest.hexdigest()):
        raise _broken(path, "it is not the batch whose digest its last line holds")


def _broken(path: Path, why: str) -> BrokenArchiveError:
    return BrokenArchiveError(
        f"The archive {path.name} is not what was written: {why}.",
        "Take another copy of it; this one is no evidence.",
    )
