"""What is asked for and what comes back, as plain values; knows nothing of HTTP or torch."""
