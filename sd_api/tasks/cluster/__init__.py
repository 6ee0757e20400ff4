"""The task queue and the event bus that the API processes of a cluster share through Redis."""
