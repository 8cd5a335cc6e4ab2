import os
import stat
import time
from pathlib import Path

import pytest

from minadv.files import write_whole


def test_folders_are_made_and_the_content_is_there(tmp_path):
    path = write_whole(str(tmp_path / "a" / "b" / "file"), b"content")
    assert path == tmp_path / "a" / "b" / "file"
    assert path.read_bytes() == b"content"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = write_whole(tmp_path / "file", b"old")
    write = Path.write_bytes

    def half(self, content):
        write(self, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new content")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    written = write_whole(tmp_path / "whole", b"")
    assert stat.S_IMODE(written.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_name_as_long_as_names_may_be(tmp_path):
    assert write_whole(tmp_path / ("n" * 255), b"content").read_bytes() == b"content"


posix = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")


@posix
def test_the_mode_of_the_file_that_is_replaced_is_kept(tmp_path):
    path = write_whole(tmp_path / "file", b"old")
    path.chmod(0o600)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@posix
def test_a_read_only_file_is_kept(tmp_path):
    path = write_whole(tmp_path / "file", b"old")
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="read-only"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@posix
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_a_link_and_its_target_is_written(tmp_path, exists):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "target", tmp_path / "link"
    if exists:
        target.write_bytes(b"old")
    link.symlink_to(Path("there") / "target")
    assert write_whole(link, b"new") == link
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_only_old_leftovers_of_its_own_are_removed(tmp_path):
    old, young = (tmp_path / f".minadv-{c * 32}.partial" for c in "ab")
    other = tmp_path / ".other.partial"
    for path in (old, young, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (0, time.time() - 2 * 24 * 3600))
    write_whole(tmp_path / "file", b"content")
    assert {p.name for p in tmp_path.iterdir()} == {young.name, other.name, "file"}
