"""Acts of persons: who viewed, exported, used, copied, approved or changed what, and when."""
