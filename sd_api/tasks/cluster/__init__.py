"""What the processes that carry tasks on many machines tell each other, through Redis."""
