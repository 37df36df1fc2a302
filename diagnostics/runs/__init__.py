"""What acts: finds, launches, stops and relaunches runs, and keeps their record."""
