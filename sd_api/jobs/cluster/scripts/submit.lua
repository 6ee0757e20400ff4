-- Arguments: id, client, program, nonce, server, the server's lease, rejoin, limit of queued jobs, limit per client,
-- version, model; then fields and values of the job's hash.
-- Queues a job. Returns 'accepted', 'joined', 'taken' or 'full'; with 'accepted', also the idle worker that the job is
-- reserved for, or ''.
local id, client, program, nonce, server, server_lease = unpack(ARGV, 1, 6)
local rejoin, limit, limit_per_client = ARGV[7] == '1', tonumber(ARGV[8]), tonumber(ARGV[9])
local version, model = ARGV[10], ARGV[11]
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

-- The client's queued jobs, each with its program and its round: the first job of each program is of round 1.
local queued, rounds, own = {}, {}, 0
for _, other in ipairs(redis.call('LRANGE', queue_key(client), 0, -1)) do
  local its_program, its_lasting = unpack(redis.call('HMGET', job_key(other), 'program', 'lasting'))
  rounds[its_program] = (rounds[its_program] or 0) + 1
  queued[#queued + 1] = {id = other, program = its_program, round = rounds[its_program]}
  if its_lasting ~= '1' then own = own + 1 end
end
local total = count_queued()
if total >= limit or (own >= limit_per_client and not rejoin) then return {'full', total, own} end

redis.call('HSET', key, 'state', 'queued', 'client', client, 'nonce', nonce, 'subscribers', server, 'version', version,
  'model', model, 'program', program, 'created', now, unpack(ARGV, 12))
-- A client's programs take turns: the job goes before those of a later round, and after its own program's.
local before
for _, other in ipairs(queued) do
  if other.program == program then before = nil
  elseif not before and other.round > (rounds[program] or 0) + 1 then before = other.id end
end
if before then redis.call('LINSERT', queue_key(client), 'BEFORE', before, id)
else redis.call('RPUSH', queue_key(client), id) end
queue_changed()
if #queued == 0 then
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
