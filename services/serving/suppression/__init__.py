"""Who is suppressed in output, and how it is found in a request or an answer."""
