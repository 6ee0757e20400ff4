"""The user store over the database."""

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from sd_api.errors import NameTaken
from sd_api.storage.database import Database
from sd_api.storage.protocols import User
from sd_api.storage.tables import users


class SqlUsers:
    """A UserStore over SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, user: User) -> None:
        """See UserStore."""
        try:
            with self._database.writing() as connection:
                connection.execute(insert(users).values(id=user.id, name=user.name, password_hash=user.password_hash))
        except IntegrityError:
            raise NameTaken(f"There is a user {user.name!r} already; choose another username.") from None

    def find(self, name: str) -> User | None:
        """See UserStore."""
        with self._database.reading() as connection:
            row = connection.execute(select(users).where(users.c.name == name)).mappings().first()
        return None if row is None else User(**row)
