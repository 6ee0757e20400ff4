"""The user store over the database."""

from sqlalchemy import insert, select

from sd_api.storage.database import Database
from sd_api.storage.names import chosen, folded, taken
from sd_api.storage.protocols import User
from sd_api.storage.tables import users

_USER = (users.c.id, users.c.name, users.c.password_hash)


class SqlUsers:
    """A UserStore over SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, user: User) -> None:
        """See UserStore."""
        key = folded(user.name)
        # Writing transactions run one after the other, so nobody adds the name in between.
        with self._database.writing() as connection:
            if connection.execute(select(users.c.id).where(users.c.folded == key)).first() is not None:
                raise taken(user.name)
            connection.execute(
                insert(users).values(id=user.id, name=user.name, password_hash=user.password_hash, folded=key)
            )

    def find(self, name: str) -> User | None:
        """See UserStore."""
        with self._database.reading() as connection:
            rows = connection.execute(select(*_USER).where(users.c.folded == folded(name))).mappings().all()
        return chosen(name, [User(**row) for row in rows])
