"""The network edge: a production server in this process that no single client can stop.

uvicorn serves, because it runs the same on Windows, macOS and Linux, sees a client close its
connection, and speaks websockets; a2wsgi runs the Flask application behind it on threads.

``listener``: the port. ``connection``: one client's connection, its time limits and how many there may be.
``bodies``: what is being uploaded, and the memory for all of it. ``edge``: one request, from its headers to its
answer. ``server``: all of it together, until the process is stopped.
"""
