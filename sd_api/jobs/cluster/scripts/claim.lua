-- worker, version, able, names of the models that it has loaded, lease, pictures at once, longest patience.
-- Answers with the ids of the jobs that it shall make, each with the number of its try; without any, with the worker
-- that one of them waits for.
local worker, version, able, models = ARGV[1], ARGV[2], ARGV[3] == '1', cjson.decode(ARGV[4])
local lease, at_once, patience = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

local function live(wanted) return redis.call('ZCOUNT', 'sd:able:' .. wanted, now, '+inf') > 0 end

-- One whose engine does not start leaves the jobs to those whose engine does.
if not able and live(version) then return {{}, ''} end

local loaded, has = {}, false
for _, model in ipairs(models) do loaded[model] = true end

local waiting, chosen, passed, kept_for = ordered(), nil, {}, ''
for place, id in ipairs(waiting) do
  local its, model, since, other, till = unpack(
    redis.call('HMGET', job_key(id), 'version', 'model', 'passed', 'for', 'for_until'))
  if end_if_nobody_waits(id) then
    -- Its turn passes to the next.
  elseif its ~= version then
    if not live(its) then
      end_job(id, 'failed', 'message', failure('Unavailable', 'This job was sent by a server of version ' .. its ..
        ', but the workers are of version ' .. version .. '. Update whichever is older.'))
    end
  elseif other and other ~= worker and now < tonumber(till) then
    kept_for = other
  elseif loaded[model] or (since and now - since > patience) then
    chosen = id
    break
  else
    -- The first of them is taken unless there is one whose model is loaded here.
    passed[#passed + 1] = id
  end
end
if not chosen then chosen = table.remove(passed, 1)
else
  for _, id in ipairs(passed) do redis.call('HSETNX', job_key(id), 'passed', now) end
end
if not chosen then return {{}, kept_for} end

local jobs = {}
local function take(id)
  local key = job_key(id)
  local client = redis.call('HGET', key, 'client')
  leave_line(id, client)
  redis.call('ZADD', 'sd:running', now + lease, id)
  redis.call('HSET', key, 'state', 'running', 'worker', worker, 'started', now)
  redis.call('HDEL', key, 'for', 'for_until')
  jobs[#jobs + 1] = {id, redis.call('HINCRBY', key, 'try', 1)}
  tell(id)
  return client
end

local client = take(chosen)
if redis.call('EXISTS', line_key(client)) == 1 then last_turn(client) end
redis.call('SET', 'sd:served', client)

-- Others run along where there is room in the batch; one that a worker has died of runs alone.
local batch, pictures, deaths = unpack(redis.call('HMGET', job_key(chosen), 'batch', 'pictures', 'deaths'))
local room = at_once - pictures
if not deaths and room > 0 then
  for _, id in ipairs(ordered()) do
    local its, more, died = unpack(redis.call('HMGET', job_key(id), 'batch', 'pictures', 'deaths'))
    if its == batch and not died and not end_if_nobody_waits(id) and tonumber(more) <= room then
      take(id)
      room = room - more
    end
  end
end
for _, model in ipairs(models) do redis.call('ZREM', idle_key(version, model), worker) end
return {jobs, ''}
