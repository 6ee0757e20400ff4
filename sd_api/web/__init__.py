"""HTTP: one folder for each dialect, and what they share."""
