"""The parts of ``qiaolian bench``, one module each; every figure has a baseline of the
same run.
"""
