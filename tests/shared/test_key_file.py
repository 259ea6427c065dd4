"""Key files: what they may look like, and that a bad one is refused without being quoted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.key_file import MAX_BYTES, KeyFileError, is_readable_by_others, read_key

SECRET = "sk-seeded-secret-0123456789"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "provider.env"


@pytest.mark.parametrize(
    "text",
    [
        f"KEY={SECRET}",
        f"KEY={SECRET}\n",
        f"export KEY={SECRET}\n",
        f"  export   KEY={SECRET}  \n",
        f"KEY='{SECRET}'",
        f'KEY="{SECRET}"',
        f"KEY={SECRET} # mine",
        f'KEY="{SECRET}" # mine',
        f"# a comment\n\n  # another\nOTHER=1\nKEY={SECRET}\n",
        f"KEY=old\nKEY={SECRET}\n",
        f"KEY={SECRET}\r\nOTHER=2\r\n",
        f"\ufeffKEY={SECRET}",
        f"ANY_NAME={SECRET}",
        'KEY="' + SECRET.replace("-", "\\-") + '"',
    ],
)
def test_key_is_read_from_every_form(path: Path, text: str) -> None:
    """Plain, exported, quoted, commented, and under another name when it is the only one."""
    path.write_text(text, encoding="utf-8", newline="")
    assert read_key(path, "KEY") == SECRET


def test_hash_inside_a_key_is_kept(path: Path) -> None:
    """Only a hash after a blank starts a comment, as in a shell."""
    path.write_text("KEY=a#b")
    assert read_key(path, "KEY") == "a#b"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has 0 keys, none called KEY"),
        (f"A={SECRET}\nB={SECRET}", "has 2 keys, none called KEY"),
        ("KEY=", "holds an empty key"),
        ("KEY=''", "holds an empty key"),
        (SECRET, "line 1 is not KEY=value"),
        (f"A=1\nKEY = {SECRET}", "line 2 is not KEY=value"),
        (f'KEY="{SECRET}', "line 1 is not KEY=value"),
        (f"KEY={SECRET} tail", "line 1 is not KEY=value"),
        (f"KEY: {SECRET}", "line 1 is not KEY=value"),
        ("A=" + "x" * MAX_BYTES, f"is over {MAX_BYTES} bytes"),
    ],
)
def test_bad_file_is_refused_unquoted(path: Path, text: str, reason: str) -> None:
    """The reason names a line at most, never what stands in it."""
    path.write_text(text)
    with pytest.raises(KeyFileError) as caught:
        read_key(path, "KEY")
    assert str(caught.value) == reason


def test_several_keys_need_a_name(path: Path) -> None:
    """Without a wanted name only a file with one key is clear."""
    path.write_text("A=1\nB=2")
    with pytest.raises(KeyFileError, match=r"^has 2 keys$"):
        read_key(path, "")


def test_binary_file_is_refused(path: Path) -> None:
    """A file that is no text holds no key."""
    path.write_bytes(b"KEY=\xff\xfe")
    with pytest.raises(KeyFileError, match=r"^is not UTF-8 text$"):
        read_key(path, "KEY")


def test_folder_and_pipe_are_refused(tmp_path: Path, path: Path) -> None:
    """Reading a pipe would hang the start."""
    os.mkfifo(path)
    for no_file in (tmp_path, path):
        with pytest.raises(KeyFileError, match=r"^is not a regular file$"):
            read_key(no_file, "KEY")


def test_missing_file_is_its_own_error(path: Path) -> None:
    """No file is the ordinary case of a provider that is not used."""
    with pytest.raises(FileNotFoundError):
        read_key(path, "KEY")


def test_path_through_a_file_is_refused(path: Path) -> None:
    """Whatever else the system says about the path is a reason, not a crash."""
    path.touch()
    with pytest.raises(KeyFileError, match=r"^cannot be read: Not a directory$"):
        read_key(path / "x", "KEY")


@pytest.mark.parametrize(
    ("mode", "is_readable"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)]
)
def test_permissions_of_others_are_seen(path: Path, mode: int, is_readable: bool) -> None:
    """Group or world readable is worth a warning."""
    path.touch()
    path.chmod(mode)
    assert is_readable_by_others(path) is is_readable
