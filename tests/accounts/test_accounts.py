"""Signing up, logging in, and what is refused."""

import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from limits.storage import MemoryStorage

from sd_api.accounts.accounts import Accounts
from sd_api.accounts.attempts import Attempts
from sd_api.accounts.passwords import Passwords
from sd_api.accounts.tokens import ALGORITHM, Tokens, make_secret
from sd_api.errors import ConfigurationError, NameTaken, NotAuthenticated, NotEnabled, TooManyAttempts
from sd_api.storage.database import Database
from sd_api.storage.users import SqlUsers

SECRET = make_secret()


@pytest.fixture
def users(tmp_path: Path) -> Iterator[SqlUsers]:
    database = Database(tmp_path / "server.sqlite")
    yield SqlUsers(database)
    database.close()


@pytest.fixture
def accounts(users: SqlUsers) -> Accounts:
    return Accounts(users, Tokens(SECRET, 60), Attempts(MemoryStorage()), signup=True, public=True)


def test_who_signed_up_logs_in_and_is_known(accounts: Accounts) -> None:
    accounts.sign_up("ann", "correct horse", "here")
    first, second = (accounts.identify(accounts.log_in("ann", "correct horse", "here")) for _ in range(2))
    assert first.owner == second.owner
    assert first.owner.startswith("user:")
    assert 0 < first.expires - time.time() <= 60


def test_a_password_is_kept_as_a_hash_with_a_salt_of_its_own(accounts: Accounts, users: SqlUsers) -> None:
    for name in ("ann", "bob"):
        accounts.sign_up(name, "correct horse", "here")
    hashes = [user.password_hash for name in ("ann", "bob") if (user := users.find(name))]
    assert len(set(hashes)) == 2
    assert all(text.startswith("$argon2id$") for text in hashes)


def test_one_character_or_two_is_the_same_password(accounts: Accounts) -> None:
    accounts.sign_up("ann", "caf\u00e9 noir", "here")
    accounts.log_in("ann", "cafe\u0301 noir", "here")
    with pytest.raises(NotAuthenticated):
        accounts.log_in("ann", "cafe noir", "here")


def test_a_token_of_a_machine_whose_clock_is_ahead_is_valid() -> None:
    tokens = Tokens(SECRET, 60)
    token = tokens.for_user("1")
    claims = jwt.decode(token, SECRET, algorithms=[ALGORITHM])
    ahead = jwt.encode(claims | {"iat": claims["iat"] + 300, "exp": claims["exp"] + 300}, SECRET, ALGORITHM)
    assert tokens.identify(ahead).owner == "user:1"


@pytest.mark.parametrize("secret", ["", "short", "x" * 31])
def test_a_secret_that_can_be_guessed_is_refused(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="at least 32 characters"):
        Tokens(secret, 60)


def test_a_name_is_given_once(accounts: Accounts) -> None:
    accounts.sign_up("ann", "correct horse", "here")
    with pytest.raises(NameTaken):
        accounts.sign_up("ann", "another", "here")
    accounts.log_in("ann", "correct horse", "here")


def test_each_public_token_is_somebody_else(accounts: Accounts) -> None:
    owners = {accounts.identify(accounts.public_token("10.0.0.1")).owner for _ in range(3)}
    assert len(owners) == 3
    assert all(owner.startswith("public:") for owner in owners)


def test_what_is_switched_off_is_refused(users: SqlUsers) -> None:
    closed = Accounts(users, Tokens(SECRET, 60), Attempts(MemoryStorage()), signup=False, public=False)
    with pytest.raises(NotEnabled, match="ENABLE_SIGNUP"):
        closed.sign_up("ann", "correct horse", "here")
    with pytest.raises(NotEnabled, match="ENABLE_PUBLIC_TOKEN"):
        closed.public_token("here")


def test_no_such_user_and_wrong_password_are_answered_alike(accounts: Accounts) -> None:
    accounts.sign_up("ann", "correct horse", "here")
    messages = set()
    for name in ("ann", "nobody"):
        with pytest.raises(NotAuthenticated) as caught:
            accounts.log_in(name, "wrong", "here")
        messages.add(caught.value.message)
    assert len(messages) == 1


def test_no_such_user_takes_as_long_as_a_wrong_password() -> None:
    passwords = Passwords()
    known = passwords.hash("correct horse")

    def seconds(password_hash: str | None) -> float:
        times = []
        for _ in range(5):
            started = time.process_time()
            assert not passwords.verify(password_hash, "wrong")
            times.append(time.process_time() - started)
        # Threads that other tests have left count as well, so the least is nearest.
        return min(times)

    assert 0.5 < seconds(None) / seconds(known) < 2


def test_nobody_has_no_password(accounts: Accounts) -> None:
    with pytest.raises(NotAuthenticated):
        accounts.log_in("nobody", "nobody's", "here")


def test_repeated_failures_are_slowed_for_that_client_and_user_alone(accounts: Accounts) -> None:
    accounts.sign_up("ann", "correct horse", "here")
    for _ in range(5):
        with pytest.raises(NotAuthenticated):
            accounts.log_in("ann", "wrong", "here")
    with pytest.raises(TooManyAttempts) as caught:
        accounts.log_in("ann", "correct horse", "here")
    assert caught.value.retry_after is not None
    assert 1 <= caught.value.retry_after <= 60
    accounts.log_in("ann", "correct horse", "elsewhere")
    with pytest.raises(NotAuthenticated):
        accounts.log_in("bob", "wrong", "here")


def test_who_knows_the_password_is_not_slowed(accounts: Accounts) -> None:
    accounts.sign_up("ann", "correct horse", "here")
    for _ in range(8):
        accounts.log_in("ann", "correct horse", "here")


def forged(**changes: object) -> str:
    now = int(time.time())
    claims = {"sub": "user:1", "iat": now, "exp": now + 60, "jti": "1", **changes}
    return jwt.encode({key: value for key, value in claims.items() if value is not None}, SECRET, algorithm=ALGORITHM)


def test_a_token_of_ours_is_good(accounts: Accounts) -> None:
    assert accounts.identify(forged()).owner == "user:1"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "nonsense",
        "a.b.c",
        "é" * 40,
        forged(exp=int(time.time()) - 1),
        forged(exp=None),
        forged(sub=None),
        forged(jti=None),
        forged(sub=5),
        jwt.encode({"sub": "user:1", "iat": 0, "exp": 2**40, "jti": "1"}, make_secret(), algorithm=ALGORITHM),
        jwt.encode({"sub": "user:1", "iat": 0, "exp": 2**40, "jti": "1"}, SECRET * 2, algorithm="HS512"),
        jwt.encode({"sub": "user:1", "iat": 0, "exp": 2**40, "jti": "1"}, "", algorithm="none"),
    ],
    ids=lambda token: token[:20],
)
def test_any_other_token_is_refused(accounts: Accounts, token: str) -> None:
    with pytest.raises(NotAuthenticated):
        accounts.identify(token)
