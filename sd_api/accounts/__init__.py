"""Authentication: users, passwords and tokens; knows nothing of HTTP."""
