-- id, number of the try, progress, whether it works, preview.
-- Answers whether the job is still wanted of this worker, and whether somebody looks at previews.
local id, try, progress, works, preview = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1', ARGV[5]
local key = job_key(id)
local state, current, looked = unpack(redis.call('HMGET', key, 'state', 'try', 'looked'))
if state ~= 'running' or current ~= try or end_if_nobody_waits(id) then return {0, 0} end
redis.call('HSET', key, 'progress', progress)
if works then redis.call('HSETNX', key, 'working', now) end
if preview ~= '' then redis.call('HSET', key, 'preview', preview) end
tell(id)
return {1, (looked and now - looked < 5000) and 1 or 0}
