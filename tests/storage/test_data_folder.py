"""The folder: one server's at a time, and nobody else's to read."""

import os
import stat
from pathlib import Path

import pytest

from sd_api.errors import ConfigurationError
from sd_api.storage.data_folder import DataFolder


def test_it_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "a" / "b")
    folder.secret("secret", "first")
    if os.name == "posix":
        assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "a" / "b" / "secret").stat().st_mode) == 0o600
    folder.release()


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    # What an interrupted start may have left.
    (tmp_path / "secret.part").write_text("")
    assert folder.secret("secret", "first") == "first"
    assert folder.secret("secret", "second") == "first"
    folder.release()


def test_a_secret_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    (tmp_path / "secret").mkdir()
    with pytest.raises(ConfigurationError, match=r"data: .*secret cannot be used: "):
        folder.secret("secret", "first")
    folder.release()


def test_two_servers_cannot_work_with_one_folder(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    with pytest.raises(ConfigurationError, match="another server works with"):
        DataFolder(tmp_path)
    folder.release()
    DataFolder(tmp_path).release()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"data: .* cannot be used: "):
        DataFolder(tmp_path / "file" / "folder")
