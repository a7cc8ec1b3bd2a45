"""How the networks are trained: the policy, and one trainer a file."""
