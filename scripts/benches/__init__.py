"""The parts of ``qiaolian bench``, one module each; every figure stands beside a baseline of the
same run.
"""
