-- Arguments: id, time to live.
-- Keeps a job for so long after its end, and has it made even if its server dies, if the job exists.
local key, ttl = job_key(ARGV[1]), ARGV[2]
if redis.call('EXISTS', key) == 0 then return end
redis.call('HSET', key, 'ttl', ttl)
redis.call('HDEL', key, 'waiting_server')
if redis.call('PTTL', key) >= 0 then redis.call('PEXPIRE', key, ttl) end
