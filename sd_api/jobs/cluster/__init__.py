"""The job queue of a cluster: API processes accept jobs, workers make them, and Redis holds the state of both.

Dramatiq carries *work tokens*: each message permits one worker to run one job. Which job that is, a script in Redis
decides when a worker redeems its token: clients are served fairly, models stay where they are loaded, and a cancelled
job is gone. A token too many is harmless, and a lost one is replaced.

Keys, with times in milliseconds of Redis's own clock:

- ``sd:jobs:<id>``: a hash with a job's request, state, pictures and result; it expires some time after the job's end.
- ``sd:queue:<client>``: a list of a client's queued jobs; ``sd:clients``: a sorted set of the clients that have any, in
  the order in which they are served; ``sd:clients:sequence`` counts services, ``sd:clients:last`` was served last.
- ``sd:queue:changes`` counts the changes of the queues.
- ``sd:leases``: a sorted set of the running jobs by the end of their leases, which their workers renew.
- ``sd:workers``: a sorted set of the workers by the end of their leases; ``sd:worker:<id>``: a worker's status as JSON.
- ``sd:healthy:<version>``: the workers whose engine works; ``sd:idle:<version>:<model>``: the idle workers that have
  loaded a model; both are sorted sets by the end of the leases.
- ``sd:server:<id>``: exists while an API process sends heartbeats; ``sd:updates:<id>``: the channel with the updates of
  its jobs.
- ``sd:timings``: a hash of the work and the seconds of the latest jobs, by model, operation and device.
- ``sd:expiry:last``, ``sd:expiry:grace``: when leases were last checked, and that none expires for now.
- ``sd:wakeup``, ``sd:wakeup:<worker>``: lists that idle workers block on; ``sd:dramatiq…``: Dramatiq's own keys.
"""
