"""Every statement of the network, field by field, in one module for each domain.

A statement with legal or monetary effect is signed under EIP-712; the domain holds the chain id and
the contract. ``contracts/src/Statements.sol`` has the same types; shared vectors prove that both
sides encode them to the same bytes. ``version`` is the type's version. A changed type gets a new
version and a new type string; the meaning of a version never changes. Times are Unix seconds,
heights are block numbers, money is in fen.

A struct's hash is the id of what it describes (a grant, an agreement, a deal). The contract stores
one packed status value under that id, and whoever holds the struct can show that it is the one
meant.
"""
