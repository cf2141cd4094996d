"""Load tests of a server: who asks for what and when, what they wait for, and whether the server's books agree."""
