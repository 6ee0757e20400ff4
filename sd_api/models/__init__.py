"""What models there are and what is loaded: sources, files, devices, schedulers, the safety filter."""
