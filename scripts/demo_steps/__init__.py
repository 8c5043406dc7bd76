"""The steps of ``qiaolian demo``, one module each, in order."""
