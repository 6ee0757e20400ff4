"""Signing up, logging in, and identifying the owner of a token."""

from uuid import uuid4

from sd_api.accounts.attempts import Attempts
from sd_api.accounts.passwords import Passwords
from sd_api.accounts.tokens import Identity, Tokens
from sd_api.errors import NotAuthenticated, NotEnabled
from sd_api.storage.names import folded
from sd_api.storage.protocols import User, UserStore


class Accounts:
    """Issues tokens to users and to the public, and verifies them.

    Args:
        users: the store of users.
        tokens: makes and verifies tokens.
        attempts: limits the rate of logins.
        signup: whether signing up is enabled.
        public: whether public tokens are enabled.
    """

    def __init__(self, users: UserStore, tokens: Tokens, attempts: Attempts, *, signup: bool, public: bool) -> None:
        self._users = users
        self._tokens = tokens
        self._signup = signup
        self._public = public
        self._passwords = Passwords()
        self._attempts = attempts

    def sign_up(self, username: str, password: str, client: str) -> None:
        """Create a user.

        Args:
            username: a unique name; names that differ in case only are one.
            password: the password as it was typed.
            client: the address of the client.

        Raises:
            NotEnabled: signing up is disabled in the configuration.
            NameTaken: there is a user of that name already.
            TooManyAttempts: this client exceeds the rate limit.
        """
        if not self._signup:
            raise NotEnabled("Signing up is switched off; ENABLE_SIGNUP in the configuration switches it on.")
        self._attempts.begin(client)
        self._users.add(User(uuid4().hex, username, self._passwords.hash(password)))

    def log_in(self, username: str, password: str, client: str) -> str:
        """Make a token for a user.

        Raises:
            NotAuthenticated: there is no such user, or the password is wrong; the message does not say which.
            TooManyAttempts: this client exceeds the rate limit.
        """
        key = folded(username)
        self._attempts.begin(client, key)
        user = self._users.find(username)
        is_right = self._passwords.verify(None if user is None else user.password_hash, password)
        if user is None or not is_right:
            raise NotAuthenticated("The username or the password is wrong.")
        self._attempts.succeed(client, key)
        return self._tokens.for_user(user.id)

    def public_token(self, client: str) -> str:
        """Make a public token.

        Args:
            client: the address of the client.

        Raises:
            NotEnabled: public tokens are disabled in the configuration.
        """
        if not self._public:
            raise NotEnabled("Public tokens are switched off; ENABLE_PUBLIC_TOKEN in the configuration gives them.")
        return self._tokens.for_public(client)

    def identify(self, token: str) -> Identity:
        """Verify a token and return its owner.

        Raises:
            NotAuthenticated: the token is not one of this server, or it has expired.
        """
        return self._tokens.identify(token)
