"""Console text and log files to observations; pure, never raises on bad input."""
