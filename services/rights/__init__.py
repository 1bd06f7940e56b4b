"""Rights beyond erasure, as far as the parts are there: access to what the model says, restriction, objection."""
