"""Transport: how records come to the agents, a fetch of a partition at a time; no metrics here."""
