"""The results of a run -> one page that says in a minute what went in and whether it is good."""
