"""What the commands of the command line do: each is one function of its parsed arguments."""
