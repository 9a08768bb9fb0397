"""Tables: what their files hold, what their columns are, and the numbers that they become."""
