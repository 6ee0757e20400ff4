"""Signing up, logging in, and who a token stands for."""

from uuid import uuid4

from sd_api.accounts.attempts import Attempts
from sd_api.accounts.passwords import Passwords
from sd_api.accounts.tokens import Identity, Tokens
from sd_api.errors import NotAuthenticated, NotEnabled
from sd_api.storage.protocols import User, UserStore


class Accounts:
    """What can be done without being somebody yet.

    Args:
        users: where they are kept.
        tokens: what they are given.
        attempts: how often a login may fail.
        signup: whether anybody may become a user.
        public: whether anybody may have a token.
    """

    def __init__(self, users: UserStore, tokens: Tokens, attempts: Attempts, *, signup: bool, public: bool) -> None:
        self._users = users
        self._tokens = tokens
        self._signup = signup
        self._public = public
        self._passwords = Passwords()
        self._attempts = attempts

    def sign_up(self, username: str, password: str, client: str) -> None:
        """Make a user.

        Args:
            username: unique.
            password: as it was typed.
            client: the address that asks.

        Raises:
            NotEnabled: the configuration does not let anybody sign up.
            NameTaken: there is a user of that name.
            TooManyAttempts: this client asks too often.
        """
        if not self._signup:
            raise NotEnabled("Signing up is switched off; ENABLE_SIGNUP in the configuration switches it on.")
        self._attempts.begin(client)
        self._users.add(User(uuid4().hex, username, self._passwords.hash(password)))

    def log_in(self, username: str, password: str, client: str) -> str:
        """A token for who knows the password.

        Raises:
            NotAuthenticated: there is no such user, or the password is another; which of the two is not told.
            TooManyAttempts: this client asks too often.
        """
        self._attempts.begin(client, username)
        user = self._users.find(username)
        right = self._passwords.verify(None if user is None else user.password_hash, password)
        if user is None or not right:
            raise NotAuthenticated("The username or the password is wrong.")
        self._attempts.succeed(client, username)
        return self._tokens.for_user(user.id)

    def public_token(self) -> str:
        """A token for whoever asks.

        Raises:
            NotEnabled: the configuration does not give any.
        """
        if not self._public:
            raise NotEnabled("Public tokens are switched off; ENABLE_PUBLIC_TOKEN in the configuration gives them.")
        return self._tokens.for_public()

    def identify(self, token: str) -> Identity:
        """Who holds a token.

        Raises:
            NotAuthenticated: it is not one of ours, or it has expired.
        """
        return self._tokens.identify(token)
