-- Arguments: lease, tries.
-- Requeues the jobs whose leases have expired; after `tries` expired leases a job fails. Removes dead workers. Returns
-- the number of clients that have queued jobs.
local lease, tries = tonumber(ARGV[1]), tonumber(ARGV[2])

-- If this script has not run for half a lease, Redis or all processes were away, so that heartbeats were impossible.
-- No lease expires before the workers had the time to send one.
local last = redis.call('GET', 'sd:expiry:last')
redis.call('SET', 'sd:expiry:last', now)
if last and now - last > lease / 2 then redis.call('SET', 'sd:expiry:grace', now + lease, 'PX', lease) end

redis.call('ZREMRANGEBYSCORE', 'sd:workers', '-inf', now)
if redis.call('EXISTS', 'sd:expiry:grace') == 0 then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'sd:leases', '-inf', now)) do
    if redis.call('HINCRBY', job_key(id), 'expired_leases', 1) < tries then requeue_first(id)
    else
      end_job(id, 'failed', 'message', failure('GenerationFailed', 'The worker that made this job died, ' .. tries ..
        ' times in a row. It is not tried again; a smaller size or fewer pictures may get through.'))
    end
  end
end
return redis.call('ZCARD', 'sd:clients')
