"""Studies: the tables, figures and claims of one paper each."""
