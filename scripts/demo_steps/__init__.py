"""The steps of ``qiaolian demo``, one module each, in the order a person watches them."""
