"""Where observations come from: driver, host, files, processes. A failing source yields its failure."""
