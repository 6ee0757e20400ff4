-- id, number of the try, state, rate, then fields and values. Answers whether it ended with this.
local id, try, state, rate = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local key = job_key(id)
local before, current, model = unpack(redis.call('HMGET', key, 'state', 'try', 'model'))
-- Pictures are welcome from a worker that was taken for dead, too; its troubles are not.
if not before or ended(before) or (state ~= 'finished' and current ~= try) then return 0 end
if rate ~= '' then
  local known = redis.call('HGET', 'sd:pace', model) or rate
  redis.call('HSET', 'sd:pace', model, known + 0.5 * (rate - known))
end
end_job(id, state, unpack(ARGV, 5))
return 1
