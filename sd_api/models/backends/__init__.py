"""What runs a component instead of PyTorch as it is."""
