-- Arguments: id, attempt, state, rate or ''; then fields and values of the job's hash.
-- Ends a job that has not ended. Returns whether this call ended it.
local id, attempt, state, rate = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local key = job_key(id)
local before, current, model = unpack(redis.call('HMGET', key, 'state', 'attempt', 'model'))
-- A worker whose lease has expired may still deliver its pictures, but not its failures.
if not before or has_ended(before) or (state ~= 'finished' and current ~= attempt) then return 0 end
if rate ~= '' then
  local average = redis.call('HGET', 'sd:rates', model) or rate
  redis.call('HSET', 'sd:rates', model, average + 0.5 * (rate - average))
end
end_job(id, state, unpack(ARGV, 5))
return 1
