"""Tasks: generations that are stored with their events and results, and outlive the process; knows nothing of HTTP."""
