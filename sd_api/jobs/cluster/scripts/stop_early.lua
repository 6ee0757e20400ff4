-- Arguments: id.
-- Has the worker of a running job end it at its next step, with its pictures as they are.
if redis.call('HGET', job_key(ARGV[1]), 'state') == 'running' then redis.call('HSET', job_key(ARGV[1]), 'stops_early', 1) end
