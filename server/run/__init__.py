"""What runs: the processes of each role, and what commands do."""
