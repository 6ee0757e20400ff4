"""The connection to the Redis that the machines of a cluster share; knows nothing of the data there."""
