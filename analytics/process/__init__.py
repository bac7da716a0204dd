"""What a worker process owes itself: a name, a pulse, an end; and what keeps several running."""
