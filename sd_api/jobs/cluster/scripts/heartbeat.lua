-- Arguments: worker, version, healthy, idle, loaded models (JSON), status (JSON), lease; then the id, the attempt, the
-- progress (JSON or '') and the milliseconds of work of each of its jobs.
-- Renews the leases of the worker and of its jobs, and stores how far these are. Returns the ids of the jobs that are not
-- the worker's any more, or not wanted.
local worker, version, healthy, idle = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[4] == '1'
local models, status, lease = cjson.decode(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local deadline = now + lease

redis.call('SET', 'sd:worker:' .. worker, status, 'PX', lease)
redis.call('ZADD', 'sd:workers', deadline, worker)
redis.call('ZREMRANGEBYSCORE', 'sd:healthy:' .. version, '-inf', now)
if healthy then redis.call('ZADD', 'sd:healthy:' .. version, deadline, worker)
else redis.call('ZREM', 'sd:healthy:' .. version, worker) end
for _, model in ipairs(models) do
  if healthy and idle then redis.call('ZADD', idle_key(version, model), deadline, worker)
  else redis.call('ZREM', idle_key(version, model), worker) end
end

local lost = {}
for place = 8, #ARGV, 4 do
  local id, attempt, progress, worked = unpack(ARGV, place, place + 3)
  local state, current = unpack(redis.call('HMGET', job_key(id), 'state', 'attempt'))
  if state == 'running' and current == attempt and not cancel_if_abandoned(id) then
    redis.call('ZADD', 'sd:leases', deadline, id)
    if progress ~= '' then redis.call('HSET', job_key(id), 'progress', progress, 'working', now - worked) end
  else lost[#lost + 1] = id end
end
return lost
