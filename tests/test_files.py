import os
import stat
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
