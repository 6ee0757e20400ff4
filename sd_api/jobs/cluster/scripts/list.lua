-- Returns the ids of the running jobs, and of the queued jobs in fair-queue order.
return {redis.call('ZRANGE', 'sd:leases', 0, -1), in_fair_order()}
