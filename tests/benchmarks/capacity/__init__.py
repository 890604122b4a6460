"""`make bench-capacity`: what a request costs, and where a fleet of servers meets its first limit."""
