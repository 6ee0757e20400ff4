"""What every UserStore promises; each implementation is put through the same tests."""

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from stores import OpenAgain

from sd_api.errors import NameTaken
from sd_api.storage.protocols import User, UserStore

# The same names, as people type them: with another case, composed otherwise, in another width.
ALIKE = [
    ("Ann", ["ann", "ANN", "\uff21nn"]),
    ("Zo\u00eb", ["zoe\u0308", "ZOE\u0308"]),
    ("Stra\u00dfe", ["STRASSE"]),
    ("\u03c3\u03ac\u03c2", ["\u03a3\u0386\u03a3"]),
]


@pytest.mark.parametrize(("name", "others"), ALIKE)
def test_names_that_differ_in_case_only_are_one(users: UserStore, name: str, others: list[str]) -> None:
    user = User("1", name, "hash")
    users.add(user)
    for other in (name, *others):
        assert users.find(other) == user
        with pytest.raises(NameTaken):
            users.add(User("2", other, "another hash"))
    assert users.find(name) == user
    assert users.find("Anna") is None


def test_names_of_earlier_versions_that_differ_in_case_only_stay_different(
    open_again: OpenAgain, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """They are stored as those versions did."""
    old = [("1", "Ann"), ("2", "ann"), ("3", "Bob")]
    if request.node.callspec.params["open_again"] == "sqlite":
        with sqlite3.connect(tmp_path / "server.sqlite") as plain:
            config = Config()
            config.set_main_option("script_location", "sd_api:storage/migrations")
            engine = create_engine(f"sqlite:///{tmp_path / 'server.sqlite'}")
            with engine.begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "0001")
            engine.dispose()
            plain.executemany("INSERT INTO users VALUES (?, ?, 'hash')", old)
        plain.close()
    else:
        with request.getfixturevalue("redis_server").client() as client:
            for user_id, name in old:
                client.set(f"sd:store:user:{name}", json.dumps({"id": user_id, "password_hash": "hash"}))
    users = open_again().users
    assert users.find("Ann") == User("1", "Ann", "hash")
    assert users.find("ann") == User("2", "ann", "hash")
    # Neither of the two.
    assert users.find("ANN") is None
    assert users.find("BOB") == User("3", "Bob", "hash")
    for name in ("ANN", "bob"):
        with pytest.raises(NameTaken):
            users.add(User("4", name, "hash"))


@pytest.mark.parametrize("name", ["Zoë 🎨", "a b", "a:b", "' OR 1=1 --", "*"])
def test_a_name_may_be_anything(users: UserStore, name: str) -> None:
    users.add(User("1", name, "hash"))
    assert users.find(name) == User("1", name, "hash")


def test_of_many_who_want_a_name_at_once_one_gets_it(users: UserStore) -> None:
    def add(number: int) -> bool:
        try:
            users.add(User(str(number), "Ann", "hash"))
        except NameTaken:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(add, range(8)))
    assert got.count(True) == 1
    found = users.find("Ann")
    assert found is not None
    assert got[int(found.id)]
