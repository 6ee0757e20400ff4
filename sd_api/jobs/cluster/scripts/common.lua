-- What all scripts share; it stands before each of them.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function job_key(id) return 'sd:job:' .. id end
local function line_key(client) return 'sd:line:' .. client end
local function idle_key(version, model) return 'sd:idle:' .. version .. ':' .. model end

-- Tell who follows a job what has become of it.
local function tell(id)
  local state, progress, followers = unpack(redis.call('HMGET', job_key(id), 'state', 'progress', 'followers'))
  local news = cjson.encode({id = id, state = state, progress = progress or cjson.null})
  for follower in string.gmatch(followers, '%S+') do
    redis.call('PUBLISH', 'sd:to:' .. follower, news)
  end
end

-- The waiting jobs in the order in which they will be taken: one of each client, then another of each.
local function ordered()
  local lines, longest, ids = {}, 0, {}
  for place, client in ipairs(redis.call('ZRANGE', 'sd:turns', 0, -1)) do
    lines[place] = redis.call('LRANGE', line_key(client), 0, -1)
    longest = math.max(longest, #lines[place])
  end
  for turn = 1, longest do
    for _, line in ipairs(lines) do
      if line[turn] then ids[#ids + 1] = line[turn] end
    end
  end
  return ids
end

local function last_turn(client)
  redis.call('ZADD', 'sd:turns', redis.call('INCR', 'sd:turn'), client)
end

local function leave_line(id, client)
  redis.call('LREM', line_key(client), 1, id)
  if redis.call('EXISTS', line_key(client)) == 0 then redis.call('ZREM', 'sd:turns', client) end
end

-- Put a job that was begun before all others: it has had its turn.
local function wait_again(id)
  local key = job_key(id)
  local client = redis.call('HGET', key, 'client')
  redis.call('ZREM', 'sd:running', id)
  redis.call('HSET', key, 'state', 'queued')
  redis.call('HDEL', key, 'worker', 'progress', 'working', 'preview')
  redis.call('LPUSH', line_key(client), id)
  local first = redis.call('ZRANGE', 'sd:turns', 0, 0, 'WITHSCORES')
  redis.call('ZADD', 'sd:turns', (first[2] or 0) - 1, client)
  tell(id)
end

-- End a job; further fields and values may follow.
local function end_job(id, state, ...)
  local key = job_key(id)
  local before, client, kept = unpack(redis.call('HMGET', key, 'state', 'client', 'kept'))
  if before == 'queued' then leave_line(id, client) end
  redis.call('ZREM', 'sd:running', id)
  redis.call('HSET', key, 'state', state, 'ended', now, ...)
  redis.call('HDEL', key, 'image', 'mask', 'preview')
  redis.call('PEXPIRE', key, kept)
  tell(id)
end

local function failure(kind, message) return cjson.encode({type = kind, arguments = {message}}) end

-- End a job whose client has waited at a server that is gone, and so is the client; answers whether it was one.
local function end_if_nobody_waits(id)
  local server = redis.call('HGET', job_key(id), 'awaited')
  if not server or redis.call('EXISTS', 'sd:server:' .. server) == 1 then return false end
  end_job(id, 'cancelled', 'message', failure('JobCancelled', 'The server that waited for this job has died.'))
  return true
end

local function ended(state) return state == 'finished' or state == 'failed' or state == 'cancelled' end
