"""Where observations come from: driver, host, files, processes; a failure is one, too."""
