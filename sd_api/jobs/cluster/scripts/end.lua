-- Arguments: id, attempt, state, kind of job, timing (JSON) or '', timings to keep; then fields and values of the job's
-- hash.
-- Ends a job that has not ended. Returns whether this call ended it.
local id, attempt, state, kind, timing, history = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local key = job_key(id)
local before, current = unpack(redis.call('HMGET', key, 'state', 'attempt'))
-- A worker whose lease has expired may still deliver its pictures, but not its failures.
if not before or has_ended(before) or (state ~= 'finished' and current ~= attempt) then return 0 end
if timing ~= '' then
  local timings = cjson.decode(redis.call('HGET', 'sd:timings', kind) or '[]')
  timings[#timings + 1] = cjson.decode(timing)
  if #timings > history then table.remove(timings, 1) end
  redis.call('HSET', 'sd:timings', kind, cjson.encode(timings))
end
end_job(id, state, unpack(ARGV, 7))
return 1
