"""The arms of the experiment `repair`."""

FIRST = "first draws"
REPAIR = "repair"
RESAMPLING = "plain samples"
