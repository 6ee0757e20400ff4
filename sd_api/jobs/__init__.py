"""Jobs: one generation each, in order, watchable and stoppable."""
