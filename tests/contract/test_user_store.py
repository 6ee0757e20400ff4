"""What every UserStore promises; each implementation is put through the same tests."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from sd_api.errors import NameTaken
from sd_api.storage.protocols import User, UserStore


def test_a_user_is_found_by_the_exact_name(users: UserStore) -> None:
    user = User("1", "Ann", "hash")
    users.add(user)
    assert users.find("Ann") == user
    assert users.find("ann") is None
    with pytest.raises(NameTaken, match="'Ann'"):
        users.add(User("2", "Ann", "hash"))
    assert users.find("Ann") == user


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
