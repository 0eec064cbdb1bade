"""One exchange of a large vector between three sites and the coordinator, all on this machine, beside Flower.

    python -m bench.outer_exchange [--values N] [--large N] [--codec NAME] [--folder DIR]

Ours goes through a run's real doors: a hub with its store, three agents that relay channels, a task at
each site with `lm.participant`, a process with `lm.coordinate`; only the trainer is a vector. An exchange
begins when the sites have trained and is over when each holds the new weights, and has compared their
digest. Flower's is one round of FedAvg over a SuperLink and three SuperNodes: it begins when the server
sends the weights and is over when it has the mean of what came back. Both move each site's vector once in
each direction. Flower holds what it exchanges in memory, some 30 bytes a value in its server and more at the
sites, so it is measured at a tenth of a billion; ours alone at the whole. Ours is on the disk, durably, at
each step. Beside the clock's seconds stand the processors', which other work on the machine disturbs less.
"""
