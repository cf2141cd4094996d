"""A long mixed load on one server, after which nothing may be left and both books must agree (`make soak`)."""
