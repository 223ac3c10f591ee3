"""Where 8-bit values stand in a graph, and the explicit Q/DQ that puts them there."""
