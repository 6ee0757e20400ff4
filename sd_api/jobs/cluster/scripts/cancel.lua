-- Arguments: id, reason (an error as JSON).
-- Cancels a job that has not ended. Returns whether the job exists.
local state = redis.call('HGET', job_key(ARGV[1]), 'state')
if state and not has_ended(state) then end_job(ARGV[1], 'cancelled', 'message', ARGV[2]) end
return state and 1 or 0
