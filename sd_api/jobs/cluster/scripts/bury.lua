-- lease, tries: have the jobs of dead workers run again, or end. Answers how many jobs wait.
local lease, tries = tonumber(ARGV[1]), tonumber(ARGV[2])

-- Where nobody has come by for so long, it was Redis that was away, or everybody: those who live must speak first.
local last = redis.call('GET', 'sd:buried')
redis.call('SET', 'sd:buried', now)
if last and now - last > lease / 2 then redis.call('SET', 'sd:mercy', now + lease, 'PX', lease) end

redis.call('ZREMRANGEBYSCORE', 'sd:workers', '-inf', now)
if redis.call('EXISTS', 'sd:mercy') == 0 then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'sd:running', '-inf', now)) do
    if redis.call('HINCRBY', job_key(id), 'deaths', 1) < tries then wait_again(id)
    else
      end_job(id, 'failed', 'message', failure('GenerationFailed', 'The worker that made this job died, ' .. tries ..
        ' times in a row. It is not tried again; a smaller size or fewer pictures may get through.'))
    end
  end
end
local waiting = 0
for _, client in ipairs(redis.call('ZRANGE', 'sd:turns', 0, -1)) do
  waiting = waiting + redis.call('LLEN', line_key(client))
end
return waiting
