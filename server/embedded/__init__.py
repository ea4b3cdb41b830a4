"""The embedded engines and the supervisor that keeps them and the roles running."""
