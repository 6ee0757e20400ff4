-- Answers with the ids of the jobs that run, and of those that wait, in their order.
return {redis.call('ZRANGE', 'sd:running', 0, -1), ordered()}
