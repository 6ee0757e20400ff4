-- id, field, value: changes a job only where there is one. Answers whether there is.
if redis.call('EXISTS', job_key(ARGV[1])) == 0 then return 0 end
if ARGV[2] == 'looked' then redis.call('HSET', job_key(ARGV[1]), 'looked', now)
else
  redis.call('HSET', job_key(ARGV[1]), 'kept', ARGV[3])
  redis.call('HDEL', job_key(ARGV[1]), 'awaited')
  if redis.call('PTTL', job_key(ARGV[1])) >= 0 then redis.call('PEXPIRE', job_key(ARGV[1]), ARGV[3]) end
end
return 1
