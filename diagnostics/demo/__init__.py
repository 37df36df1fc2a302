"""The demo: a small trainer and a simulated GPU; everything shown by it says SIMULATED."""
