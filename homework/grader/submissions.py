"""What was handed in: a folder or a zip, of which two files are read and nothing else."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

from homework.grader.sandbox import MOST_SOURCE

MOST_FILES, MOST_UNPACKED = 200, 5 << 20  # of a zip


def read_zip(data: bytes) -> dict[str, bytes]:
    """The regular files of a zip; raises :class:`ValueError` for one too large, with links or with
    ``..``."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [i for i in archive.infolist() if not i.is_dir()]
            if len(entries) > MOST_FILES:
                raise ValueError(f"the zip holds more than {MOST_FILES} files")
            files, left = {}, MOST_UNPACKED
            for entry in entries:
                name = entry.filename
                if name.startswith("/") or ".." in name.split("/"):
                    raise ValueError(f"the zip holds a file outside its folder: {name!r}")
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise ValueError(f"the zip holds a link: {name!r}")
                with archive.open(entry) as file:  # the size that the zip claims may be a lie
                    files[name] = file.read(left + 1)
                left -= len(files[name])
                if left < 0:
                    raise ValueError(f"the zip holds more than {MOST_UNPACKED >> 20} MiB")
            return files
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"the zip cannot be read: {error}") from None


def files_of(path: Path) -> dict[str, bytes]:
    """``hw*.py`` and ``answers.md`` of a folder, or the files of a zip. No links; nothing else is
    read."""
    if path.is_symlink():
        raise ValueError(f"{path.name} is a link")
    if path.is_file():
        if path.stat().st_size > MOST_UNPACKED:
            raise ValueError(f"the zip is larger than {MOST_UNPACKED >> 20} MiB")
        return read_zip(path.read_bytes()) if path.suffix == ".zip" else {}
    found = {}
    for file in sorted([*path.glob("*"), *path.glob("*/*")]):
        if file.is_file() and not file.is_symlink() and not file.parent.is_symlink():
            small = file.stat().st_size <= MOST_SOURCE
            wanted = file.suffix in (".py", ".md")
            found[file.relative_to(path).as_posix()] = (
                file.read_bytes() if small and wanted else b""
            )
            if wanted and not small:
                raise ValueError(f"{file.name} is larger than {MOST_SOURCE >> 10} KiB")
    return found


def pick(files: dict[str, bytes], wanted: str) -> tuple[bytes | None, str]:
    """The file named ``wanted``, at the top or in one subfolder; or None and a sentence."""
    found = [n for n in files if n == wanted] or [
        n for n in files if n.count("/") == 1 and n.endswith("/" + wanted) and "__MACOSX" not in n
    ]
    if len(found) == 1:
        source = files[found[0]]
        try:
            source.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            return None, f"{wanted} is not UTF-8: byte {error.start} is {source[error.start]:#x}"
        if len(source) > MOST_SOURCE:
            return None, f"{wanted} is larger than {MOST_SOURCE >> 10} KiB"
        return source, ""
    if found:
        return None, f"there is more than one {wanted}"
    stem = wanted.partition(".")[0]
    near = sorted(n for n in files if stem in n.lower())[:3]
    return None, f"there is no {wanted}" + (f"; found {', '.join(near)}" if near else "")
