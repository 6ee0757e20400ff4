-- id, number of the try: of a job whose worker stops. Answers whether it waits again.
local state, current = unpack(redis.call('HMGET', job_key(ARGV[1]), 'state', 'try'))
if state ~= 'running' or current ~= ARGV[2] then return 0 end
wait_again(ARGV[1])
return 1
