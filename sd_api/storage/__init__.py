"""What outlives the process: users, tasks, their events, and images; knows nothing of HTTP or of jobs."""
