-- Arguments: id, attempt.
-- Requeues a running job whose worker stops. Returns whether the job was still that worker's.
local state, current = unpack(redis.call('HMGET', job_key(ARGV[1]), 'state', 'attempt'))
if state ~= 'running' or current ~= ARGV[2] then return 0 end
requeue_first(ARGV[1])
return 1
