-- Functions that all scripts share; this file is put before each of them.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function job_key(id) return 'sd:jobs:' .. id end
local function queue_key(client) return 'sd:queue:' .. client end
local function idle_key(version, model) return 'sd:idle:' .. version .. ':' .. model end

local function has_ended(state) return state == 'finished' or state == 'failed' or state == 'cancelled' end

-- Publish a job's state and progress to the servers that subscribed to the job.
local function publish(id)
  local state, progress, subscribers = unpack(redis.call('HMGET', job_key(id), 'state', 'progress', 'subscribers'))
  local update = cjson.encode({id = id, state = state, progress = progress or cjson.null})
  for server in string.gmatch(subscribers, '%S+') do
    redis.call('PUBLISH', 'sd:updates:' .. server, update)
  end
end

-- The queued jobs in fair-queue order: one job of each client, then another one of each.
local function in_fair_order()
  local queues, longest, ids = {}, 0, {}
  for place, client in ipairs(redis.call('ZRANGE', 'sd:clients', 0, -1)) do
    queues[place] = redis.call('LRANGE', queue_key(client), 0, -1)
    longest = math.max(longest, #queues[place])
  end
  for round = 1, longest do
    for _, queue in ipairs(queues) do
      if queue[round] then ids[#ids + 1] = queue[round] end
    end
  end
  return ids
end

-- The number of jobs that all clients have queued.
local function count_queued()
  local total = 0
  for _, client in ipairs(redis.call('ZRANGE', 'sd:clients', 0, -1)) do
    total = total + redis.call('LLEN', queue_key(client))
  end
  return total
end

-- Have a client served after all others.
local function move_to_end(client)
  redis.call('ZADD', 'sd:clients', redis.call('INCR', 'sd:clients:sequence'), client)
end

-- Have working workers look whether a job may begin at their next step.
local function queue_changed() redis.call('INCR', 'sd:queue:changes') end

local function dequeue(id, client)
  queue_changed()
  redis.call('LREM', queue_key(client), 1, id)
  if redis.call('EXISTS', queue_key(client)) == 0 then redis.call('ZREM', 'sd:clients', client) end
end

-- Give a worker the lease of a queued job. Returns the job's client and the number of the attempt.
local function start(id, worker, lease)
  local key = job_key(id)
  local client = redis.call('HGET', key, 'client')
  dequeue(id, client)
  redis.call('ZADD', 'sd:leases', now + lease, id)
  redis.call('HSET', key, 'state', 'running', 'worker', worker, 'started', now)
  redis.call('HDEL', key, 'reserved_for', 'reserved_until')
  local attempt = redis.call('HINCRBY', key, 'attempt', 1)
  publish(id)
  return client, attempt
end

-- Put a job that had started before all others, because its client has been served already.
local function requeue_first(id)
  local key = job_key(id)
  local client = redis.call('HGET', key, 'client')
  redis.call('ZREM', 'sd:leases', id)
  redis.call('HSET', key, 'state', 'queued')
  redis.call('HDEL', key, 'worker', 'progress', 'working', 'preview')
  redis.call('LPUSH', queue_key(client), id)
  queue_changed()
  local first = redis.call('ZRANGE', 'sd:clients', 0, 0, 'WITHSCORES')
  redis.call('ZADD', 'sd:clients', (first[2] or 0) - 1, client)
  publish(id)
end

-- End a job; further fields and values of its hash may follow.
local function end_job(id, state, ...)
  local key = job_key(id)
  local before, client, ttl = unpack(redis.call('HMGET', key, 'state', 'client', 'ttl'))
  if before == 'queued' then dequeue(id, client) end
  redis.call('ZREM', 'sd:leases', id)
  redis.call('HSET', key, 'state', state, 'ended', now, ...)
  redis.call('HDEL', key, 'image', 'mask', 'references', 'controls', 'preview')
  redis.call('PEXPIRE', key, ttl)
  publish(id)
end

local function failure(kind, message) return cjson.encode({type = kind, arguments = {message}}) end

-- Cancel a job if its client waits at a server that has died, because the client's connection died with it.
-- Returns whether the job was cancelled.
local function cancel_if_abandoned(id)
  local server = redis.call('HGET', job_key(id), 'waiting_server')
  if not server or redis.call('EXISTS', 'sd:server:' .. server) == 1 then return false end
  end_job(id, 'cancelled', 'message', failure('JobCancelled', 'The server that waited for this job has died.'))
  return true
end
