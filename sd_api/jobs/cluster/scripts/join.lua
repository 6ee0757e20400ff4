-- Arguments: worker, version, loaded models (JSON), lease, batch key of the jobs that it works on, rows that the batch
-- has room for, the most work of a job that may overtake.
-- Chooses the queued jobs that a working worker begins at a step boundary; the rules are those of jobs/dispatch.py.
-- Returns the id, the attempt and whether it overtakes (0 or 1) of each job.
local worker, version, models = ARGV[1], ARGV[2], cjson.decode(ARGV[3])
local lease, batch, room, longest = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])

local loaded = {}
for _, model in ipairs(models) do loaded[model] = true end

-- The work that each passed-over job still lets go before it.
local passed_over, jobs, overtaken = {}, {}, false
local function may_pass(work)
  for _, other in ipairs(passed_over) do
    if other.patience < work then return false end
  end
  return true
end

for _, id in ipairs(in_fair_order()) do
  local key = job_key(id)
  local its_version, model, its_batch, rows, work, passed, expired, other, reserved_until = unpack(redis.call('HMGET',
    key, 'version', 'model', 'batch', 'rows', 'work', 'passed_work', 'expired_leases', 'reserved_for',
    'reserved_until'))
  work = tonumber(work)
  local free = not (other and other ~= worker and now < tonumber(reserved_until)) and not expired
  local joins = free and its_batch == batch and tonumber(rows) <= room
  local overtakes = free and not joins and not overtaken and its_version == version and loaded[model]
    and work <= longest
  if cancel_if_abandoned(id) then
    -- The next job is looked at.
  elseif (joins or overtakes) and may_pass(work) then
    for _, passed_job in ipairs(passed_over) do
      passed_job.patience = passed_job.patience - work
      redis.call('HINCRBYFLOAT', job_key(passed_job.id), 'passed_work', work)
    end
    local _, attempt = start(id, worker, lease)
    jobs[#jobs + 1] = {id, attempt, overtakes and 1 or 0}
    if joins then room = room - rows else overtaken = true end
  else
    passed_over[#passed_over + 1] = {id = id, patience = work - tonumber(passed or 0)}
  end
end
return jobs
