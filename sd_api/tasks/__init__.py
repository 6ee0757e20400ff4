"""Tasks: generations that are kept until they are done, and what is told of them; knows nothing of HTTP."""
