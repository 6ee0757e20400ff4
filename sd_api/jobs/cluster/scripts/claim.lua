-- Arguments: worker, version, healthy, loaded models (JSON), lease, batch size in rows, patience.
-- Chooses the worker's next job, and jobs that share its batch. Returns the id and the attempt of each job, and, if
-- there are none, the worker that a queued job is reserved for.
local worker, version, healthy, models = ARGV[1], ARGV[2], ARGV[3] == '1', cjson.decode(ARGV[4])
local lease, batch_size, patience = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

local function has_healthy_worker(wanted) return redis.call('ZCOUNT', 'sd:healthy:' .. wanted, now, '+inf') > 0 end

-- A worker whose engine does not start leaves the jobs to workers whose engine does.
if not healthy and has_healthy_worker(version) then return {{}, ''} end

local loaded = {}
for _, model in ipairs(models) do loaded[model] = true end

local chosen, passed_over, reserved_for = nil, {}, ''
for _, id in ipairs(in_fair_order()) do
  local job_version, model, passed_since, other, reserved_until = unpack(
    redis.call('HMGET', job_key(id), 'version', 'model', 'passed_since', 'reserved_for', 'reserved_until'))
  if cancel_if_abandoned(id) then
    -- The next job is looked at.
  elseif job_version ~= version then
    if not has_healthy_worker(job_version) then
      end_job(id, 'failed', 'message', failure('Unavailable', 'This job was sent by a server of version ' ..
        job_version .. ', but the workers are of version ' .. version .. '. Update whichever is older.'))
    end
  elseif other and other ~= worker and now < tonumber(reserved_until) then
    reserved_for = other
  elseif loaded[model] or (passed_since and now - passed_since > patience) then
    chosen = id
    break
  else
    -- A job whose model is not loaded here is taken only if there is none whose model is.
    passed_over[#passed_over + 1] = id
  end
end
if not chosen then chosen = table.remove(passed_over, 1)
else
  for _, id in ipairs(passed_over) do redis.call('HSETNX', job_key(id), 'passed_since', now) end
end
if not chosen then return {{}, reserved_for} end

local jobs = {}
local function take(id)
  local client, attempt = start(id, worker, lease)
  jobs[#jobs + 1] = {id, attempt}
  return client
end

local client = take(chosen)
if redis.call('EXISTS', queue_key(client)) == 1 then move_to_end(client) end
redis.call('SET', 'sd:clients:last', client)

-- Jobs with the same batch key join while the batch has room. A job whose lease has expired before runs alone, because
-- it may be what killed its worker.
local batch, rows, expired = unpack(redis.call('HMGET', job_key(chosen), 'batch', 'rows', 'expired_leases'))
local room = batch_size - rows
if not expired and room > 0 then
  for _, id in ipairs(in_fair_order()) do
    local its_batch, its_rows, its_expired = unpack(
      redis.call('HMGET', job_key(id), 'batch', 'rows', 'expired_leases'))
    if its_batch == batch and not its_expired and not cancel_if_abandoned(id) and tonumber(its_rows) <= room then
      take(id)
      room = room - its_rows
    end
  end
end
for _, model in ipairs(models) do redis.call('ZREM', idle_key(version, model), worker) end
return {jobs, ''}
