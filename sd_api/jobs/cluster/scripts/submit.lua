-- Arguments: id, client, nonce, server, the server's lease, rejoin, limit of queued jobs, limit per client, version,
-- model; then fields and values of the job's hash.
-- Queues a job. Returns 'accepted', 'joined', 'taken' or 'full'; with 'accepted', also the idle worker that the job is
-- reserved for, or ''.
local id, client, nonce, server, server_lease, rejoin = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6] == '1'
local limit, limit_per_client, version, model = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9], ARGV[10]
local key = job_key(id)
redis.call('SET', 'sd:server:' .. server, '', 'PX', server_lease)

local owner, earlier_nonce, subscribers = unpack(redis.call('HMGET', key, 'client', 'nonce', 'subscribers'))
-- The same call was sent again, because its answer was lost.
if earlier_nonce == nonce then return {'accepted', ''} end
if owner then
  if not rejoin or owner ~= client then return {'taken'} end
  redis.call('HSET', key, 'subscribers', subscribers .. ' ' .. server)
  return {'joined', ''}
end

local total, own = count_queued(), redis.call('LLEN', queue_key(client))
if total >= limit or own >= limit_per_client then return {'full', total, own} end

redis.call('HSET', key, 'state', 'queued', 'client', client, 'nonce', nonce, 'subscribers', server, 'version', version,
  'model', model, 'created', now, unpack(ARGV, 11))
redis.call('RPUSH', queue_key(client), id)
queue_changed()
if own == 0 then
  move_to_end(client)
  -- The client that was served last comes after all others, new clients included.
  local last_served = redis.call('GET', 'sd:clients:last')
  if last_served and redis.call('ZSCORE', 'sd:clients', last_served) then move_to_end(last_served) end
end

-- The job is reserved for a second for an idle worker that has its model; that worker then counts as busy.
local idle = idle_key(version, model)
redis.call('ZREMRANGEBYSCORE', idle, '-inf', now)
local chosen = redis.call('ZRANGE', idle, 0, 0)[1]
if not chosen then return {'accepted', ''} end
redis.call('ZREM', idle, chosen)
redis.call('HSET', key, 'reserved_for', chosen, 'reserved_until', now + 1000)
return {'accepted', chosen}
