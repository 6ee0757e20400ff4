-- Arguments: id, attempt, progress (JSON), whether the engine works on it rather than loads a model, preview or ''.
-- Records a step. Returns whether the job is still this worker's and wanted, and whether previews are asked for.
local id, attempt, progress, works, preview = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1', ARGV[5]
local key = job_key(id)
local state, current, preview_asked = unpack(redis.call('HMGET', key, 'state', 'attempt', 'preview_asked'))
if state ~= 'running' or current ~= attempt or cancel_if_abandoned(id) then return {0, 0} end
redis.call('HSET', key, 'progress', progress)
if works then redis.call('HSETNX', key, 'working', now) end
if preview ~= '' then redis.call('HSET', key, 'preview', preview) end
publish(id)
return {1, (preview_asked and now - preview_asked < 5000) and 1 or 0}
