-- Arguments: id.
-- Has previews of a job made for some seconds, if the job exists.
if redis.call('EXISTS', job_key(ARGV[1])) == 1 then redis.call('HSET', job_key(ARGV[1]), 'preview_asked', now) end
