"""How a run is done: the plan of its units, the engines that do them, and the tables they give."""
