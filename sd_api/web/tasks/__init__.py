"""The dialect of the task server: JSON and multipart in, JSON and PNG files out, with a token."""
