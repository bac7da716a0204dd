"""What a worker process owes itself: a name, a pulse, and an end where a test wants one."""
