-- Arguments: id, attempt, preview.
-- Stores a preview of a job, if it is still this worker's.
local state, current = unpack(redis.call('HMGET', job_key(ARGV[1]), 'state', 'attempt'))
if state == 'running' and current == ARGV[2] then redis.call('HSET', job_key(ARGV[1]), 'preview', ARGV[3]) end
