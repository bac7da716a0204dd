"""Web: the HTTP views of a worker; they ask the agents' state and answer, and change nothing."""
