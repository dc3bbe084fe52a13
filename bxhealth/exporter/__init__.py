"""`bxhealth serve`: checks builders again and again, and shows the last results as metrics and as a page."""
