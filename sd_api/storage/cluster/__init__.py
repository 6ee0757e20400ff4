"""What outlives the process, kept where many machines share it: in Redis, and images wherever fsspec reaches."""
