"""A whole federation on one machine: the `kinlink` command, its demo and its rehearsals."""
