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


@pytest.mark.skipif(os.name != "posix", reason="has no modes")
def test_an_open_folder_of_an_earlier_version_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "blobs" / "ab").mkdir(parents=True)
    for name in ("server.sqlite", "server.sqlite-wal", "secret_key", "lock", "blobs/ab/abcd"):
        (folder / name).write_text("")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("")
    (folder / "blobs" / "ab" / "link").symlink_to(elsewhere)
    (folder / "mine.txt").write_text("")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    DataFolder(folder).release()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}
    kept = {"mine.txt": 0o644, "link": 0o644}
    closed = {"data", "blobs", "ab"}
    assert modes == {name: 0o700 if name in closed else kept.get(name, 0o600) for name in modes}
    assert len(modes) == 10


@pytest.mark.skipif(os.name != "posix", reason="has no modes")
def test_an_open_folder_with_files_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigurationError, match="is open to other users and has other files in it"):
        DataFolder(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    tmp_path.chmod(0o700)
    DataFolder(tmp_path).release()


def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root gives files away")
    os.chown(tmp_path, 12345, -1)
    with pytest.raises(ConfigurationError, match=f"belongs to another user, .* use a folder in it: {tmp_path}/server"):
        DataFolder(tmp_path)
    DataFolder(tmp_path / "server").release()


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
