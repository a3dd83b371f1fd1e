"""The anchors' file: a chain of lines that goes on after a crash, and that shows when somebody changed it."""

from __future__ import annotations

import errno
import json
from hashlib import sha256
from pathlib import Path

import pytest

from app.adapters import anchor_file
from app.adapters.anchor_file import AnchorFolder
from app.data_plane.audit.anchors import Entry, Head, Position, entries_of_a_look
from app.kernel.errors import TransientError

FIRST = Position("server", 100, (97,))
SECOND = Position("server", 120, ())


def entry(chain: str, position: Position | None) -> Entry:
    return Entry("heads", "2026-01-01T00:00:00Z", [Head(chain, 4, b"\1" * 32)], position)


def lines_of(folder: AnchorFolder) -> list[bytes]:
    return [line for file in sorted(folder.folder.glob("*.jsonl")) for line in file.read_bytes().splitlines()]


def test_each_line_holds_the_digest_of_the_line_before_also_from_file_to_file(tmp_path: Path) -> None:
    folder = AnchorFolder(tmp_path / "anchors", most_bytes=400)
    for number in range(5):
        folder.append([entry(f"orc_{number}", FIRST)])

    assert len(sorted(folder.folder.glob("*.jsonl"))) > 1
    previous = ""
    for raw in lines_of(folder):
        assert json.loads(raw)["previous"] == previous
        previous = sha256(raw).hexdigest()


def test_the_position_is_that_of_the_last_whole_line(tmp_path: Path) -> None:
    folder = AnchorFolder(tmp_path / "anchors")
    assert folder.position() is None
    folder.append([entry("orc_1", FIRST)])
    assert folder.position() == FIRST
    folder.append([Entry("removed", "2026-01-01T00:00:00Z", [], archive="a.jsonl.gz")])
    assert folder.position() == FIRST
    folder.append([entry("orc_2", SECOND)])
    assert AnchorFolder(tmp_path / "anchors").position() == SECOND


@pytest.mark.parametrize("cut", [1, 30, -2])
def test_a_line_that_a_crash_cut_off_is_passed_over_and_continued_after(tmp_path: Path, cut: int) -> None:
    """Its position does not count, so that its heads are anchored by the next look."""
    folder = AnchorFolder(tmp_path / "anchors")
    folder.append([entry("orc_1", FIRST)])
    file = folder.folder / "000001.jsonl"
    whole = file.stat().st_size
    folder.append([entry("orc_2", SECOND)])
    with file.open("r+b") as opened:
        opened.truncate(whole + cut if cut > 0 else file.stat().st_size + cut)

    assert folder.position() == FIRST
    folder.append([entry("orc_2", SECOND)])

    assert folder.position() == SECOND
    found = [line.line for line in folder.as_of_now().lines()]
    assert [line is None for line in found] == [False, True, False]
    assert found[2] is not None
    assert found[2].previous == sha256(lines_of(folder)[0]).hexdigest()


def test_a_crash_between_the_lines_of_one_look_moves_the_position_by_nothing(tmp_path: Path) -> None:
    """The next look begins where this one began, and anchors some heads twice."""
    folder = AnchorFolder(tmp_path / "anchors")
    folder.append([entry("orc_0", FIRST)])
    heads = [Head(f"orc_{number}", 0, b"") for number in range(5)]
    entries = list(entries_of_a_look([heads[:3], heads[3:]], SECOND, "", per_line=2))

    assert [len(one.heads) for one in entries] == [2, 1, 2]
    assert [one.position for one in entries] == [None, None, SECOND]
    folder.append(entries[:2])
    assert folder.position() == FIRST
    folder.append(entries)
    assert folder.position() == SECOND


def test_a_look_that_finds_nothing_writes_nothing(tmp_path: Path) -> None:
    folder = AnchorFolder(tmp_path / "anchors")

    assert folder.append(entries_of_a_look([], FIRST, "")).lines == 0
    assert not folder.folder.exists()


def test_what_is_appended_later_is_no_part_of_what_was_there(tmp_path: Path) -> None:
    """A verification reads the database after this moment: of later lines it could not know the facts."""
    folder = AnchorFolder(tmp_path / "anchors", most_bytes=500)
    folder.append([entry("orc_1", FIRST)])
    now = folder.as_of_now()
    for number in range(4):
        folder.append([entry(f"orc_later{number}", SECOND)])

    assert [list(line.line.heads) for line in now.lines() if line.line] == [["orc_1"]]
    assert [list(line.line.heads) for line in now.later_lines() if line.line] == [
        [f"orc_later{number}"] for number in range(4)
    ]


def test_a_line_longer_than_a_piece_is_read_from_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchor_file, "_PIECE", 7)
    folder = AnchorFolder(tmp_path / "anchors")
    folder.append([entry("orc_1", FIRST), entry("orc_2", SECOND)])
    with (folder.folder / "000001.jsonl").open("ab") as file:
        file.write(b'{"at":"cut off')

    assert folder.position() == SECOND


def test_a_full_disk_is_told_and_the_next_look_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = AnchorFolder(tmp_path / "anchors")

    def full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(anchor_file, "_flush", full)
        with pytest.raises(TransientError, match="No space left"):
            folder.append([entry("orc_1", FIRST)])
    folder.append([entry("orc_1", FIRST)])

    assert folder.position() == FIRST


def test_numbers_that_begin_anew_say_that_nothing_was_seen() -> None:
    """After a restore elsewhere, or to an earlier time, transactions are numbered again from below."""
    assert FIRST.goes_on_to(SECOND)
    assert FIRST.goes_on_to(FIRST)
    assert not SECOND.goes_on_to(FIRST)
    assert not FIRST.goes_on_to(Position("another", 500, ()))


def test_a_transaction_that_was_running_was_not_seen() -> None:
    assert [FIRST.covers(number) for number in (96, 97, 98, 99, 100, None)] == [
        True,
        False,
        True,
        True,
        False,
        True,
    ]
