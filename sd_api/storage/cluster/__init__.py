"""The stores of a cluster: in Redis, with the contents of images there or in any file system of fsspec."""
