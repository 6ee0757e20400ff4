"""Jobs that API processes accept and workers make, on any number of machines; what is true of them is in Redis.

Dramatiq carries *turns*: each message is the right to run some job. Which one, a script in Redis decides when a worker
begins with its turn, so that clients take turns, models stay where they are loaded, and a cancelled job is gone. A
turn too many is harmless, and one that is lost is replaced.

Keys: ``sd:job:<id>`` is a hash with all of a job, its images and its result included; it expires some time after the
job's end. ``sd:line:<client>`` lists a client's waiting jobs, and ``sd:turns`` orders those clients. ``sd:running`` has
each running job's lease, which its worker renews. ``sd:workers``, ``sd:worker:<id>`` and ``sd:server:<id>`` tell who is
alive, ``sd:able:<version>`` and ``sd:idle:<version>:<model>`` who can take jobs, and who waits for one with that model
loaded, and ``sd:pace`` how long jobs take. Times in them are milliseconds of Redis's own clock.
"""
