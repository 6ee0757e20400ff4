-- id, client, nonce, follower, how long that lives, rejoin, most waiting, most of one client, version, model, then
-- fields and values.
-- Answers with what happened, and with the idle worker that has the model, if there is one.
local id, client, nonce, follower, lives, rejoin = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6] == '1'
local most, most_own, version, model = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9], ARGV[10]
local key = job_key(id)
redis.call('SET', 'sd:server:' .. follower, '', 'PX', lives)

local owner, before, followers = unpack(redis.call('HMGET', key, 'client', 'nonce', 'followers'))
if before == nonce then return {'accepted', ''} end
if owner then
  if not rejoin or owner ~= client then return {'taken'} end
  redis.call('HSET', key, 'followers', followers .. ' ' .. follower)
  return {'joined', ''}
end

local total, own = 0, redis.call('LLEN', line_key(client))
for _, other in ipairs(redis.call('ZRANGE', 'sd:turns', 0, -1)) do
  total = total + redis.call('LLEN', line_key(other))
end
if total >= most or own >= most_own then return {'full', total, own} end

redis.call('HSET', key, 'state', 'queued', 'client', client, 'nonce', nonce, 'followers', follower, 'version', version,
  'model', model, 'created', now, unpack(ARGV, 11))
redis.call('RPUSH', line_key(client), id)
if own == 0 then
  last_turn(client)
  -- Whoever had the last turn comes after everybody, newcomers too.
  local served = redis.call('GET', 'sd:served')
  if served and redis.call('ZSCORE', 'sd:turns', served) then last_turn(served) end
end

-- It is kept for the worker that has its model, for a moment; the next job is for another.
local idle = idle_key(version, model)
redis.call('ZREMRANGEBYSCORE', idle, '-inf', now)
local chosen = redis.call('ZRANGE', idle, 0, 0)[1]
if not chosen then return {'accepted', ''} end
redis.call('ZREM', idle, chosen)
redis.call('HSET', key, 'for', chosen, 'for_until', now + 1000)
return {'accepted', chosen}
