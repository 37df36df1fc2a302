"""One file a widget; widgets draw values and post messages, and know no source, run or screen."""
