"""What changes a model for some pictures without being part of it: LoRAs."""
