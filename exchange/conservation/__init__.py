"""Whether the chain's money adds up, checked all the time at the supervisor's and operator's."""
