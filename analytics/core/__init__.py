"""The functional core: pure and vectorised; it does no I/O and knows no clock, loop or settings."""
