-- id, reason as JSON. Answers whether there is such a job.
local state = redis.call('HGET', job_key(ARGV[1]), 'state')
if state and not ended(state) then end_job(ARGV[1], 'cancelled', 'message', ARGV[2]) end
return state and 1 or 0
