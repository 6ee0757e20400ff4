"""What all that many machines share goes through: one Redis. Knows nothing of what is kept there."""
