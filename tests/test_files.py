from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from bxhealth.files import write_whole


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An empty one."""
    path = tmp_path / "reports"
    path.mkdir()
    return path


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_file_can_be_read_by_others(directory: Path) -> None:
    """node_exporter reads it as another user."""
    path = directory / "report.json"
    write_whole(path, "new\n")
    assert path.read_text() == "new\n"
    assert _mode(path) == 0o644
    assert list(directory.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_an_existing_file_keeps_its_mode(directory: Path, mode: int) -> None:
    path = directory / "report.json"
    path.write_text("old and longer than the new one")
    path.chmod(mode)
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert _mode(path) == mode


def test_who_reads_the_old_file_goes_on_reading_it(directory: Path) -> None:
    path = directory / "report.json"
    path.write_text("old")
    with path.open() as reader:
        write_whole(path, "new")
        assert reader.read() == "old"


def test_a_symlink_stays_and_what_it_leads_to_is_written(directory: Path) -> None:
    target, link = directory / "there" / "target", directory / "link"
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to("there/target")
    write_whole(link, "new")
    assert link.is_symlink()
    assert link.readlink() == Path("there/target")
    assert target.read_text() == "new"
    assert _mode(target) == 0o600
    assert sorted(directory.iterdir()) == [link, target.parent]
    assert list(target.parent.iterdir()) == [target]


def test_a_symlink_to_nothing_yet(directory: Path) -> None:
    link = directory / "link"
    link.symlink_to("target")
    write_whole(link, "new")
    assert link.is_symlink()
    assert (directory / "target").read_text() == "new"


def test_a_pipe_is_written_to_as_it_is(directory: Path) -> None:
    path = directory / "pipe"
    os.mkfifo(path)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()), daemon=True)
    reader.start()
    write_whole(path, "new")
    reader.join(10)
    assert read == ["new"]
    assert path.is_fifo()


def test_a_device_stays_one() -> None:
    write_whole(Path("/dev/null"), "new")
    assert Path("/dev/null").is_char_device()


def test_a_directory_that_is_missing(directory: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(directory / "missing" / "report.json", "new")
    assert not list(directory.iterdir())


def test_a_directory_in_its_place(directory: Path) -> None:
    with pytest.raises(IsADirectoryError):
        write_whole(directory, "new")


def test_nothing_is_left_beside_a_file_that_could_not_be_replaced(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = directory / "report.json"
    path.write_text("old")

    def refuse(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="no"):
        write_whole(path, "new")
    assert list(directory.iterdir()) == [path]
    assert path.read_text() == "old"
