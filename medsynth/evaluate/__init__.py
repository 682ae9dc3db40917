"""How good the accepted cohort is: each number beside its real-versus-real floor."""
