-- worker, version, able, idle, models, what it tells of itself, lease, then the ids and tries of its jobs.
-- Answers with those that it has lost.
local worker, version, able, idle = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[4] == '1'
local models, info, lease = cjson.decode(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local deadline = now + lease

redis.call('SET', 'sd:worker:' .. worker, info, 'PX', lease)
redis.call('ZADD', 'sd:workers', deadline, worker)
redis.call('ZREMRANGEBYSCORE', 'sd:able:' .. version, '-inf', now)
if able then redis.call('ZADD', 'sd:able:' .. version, deadline, worker)
else redis.call('ZREM', 'sd:able:' .. version, worker) end
for _, model in ipairs(models) do
  if able and idle then redis.call('ZADD', idle_key(version, model), deadline, worker)
  else redis.call('ZREM', idle_key(version, model), worker) end
end

local lost = {}
for place = 8, #ARGV, 2 do
  local id, try = ARGV[place], ARGV[place + 1]
  local state, current = unpack(redis.call('HMGET', job_key(id), 'state', 'try'))
  if state == 'running' and current == try then redis.call('ZADD', 'sd:running', deadline, id)
  else lost[#lost + 1] = id end
end
return lost
