"""How a run is carried out: the plan of its units, the engines that run them, and the tables."""
