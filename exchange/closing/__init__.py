"""Cooperative closing: both sides sign the final totals of all lanes, and one transaction pays,
refunds and closes.

The buyer signs first and the provider last, so only the provider's signature ends the agreement:

1. The buyer locks every lane and completes outstanding requests. It stores its closing vouchers and
   the signed totals in one transaction; from then on its lanes take no calls (``buyer``).
2. The provider locks every lane, compares the totals with its receipts, and stores its signature,
   the end of service and the contract call in one transaction. It sends the signature only after
   that, so nothing is served after it. A refusal stores nothing (``provider``).
3. The buyer stores the provider's signature and queues the same call; the contract accepts it once.

A refusal reopens the buyer's lanes. While the provider's answer is unknown they stay closed: a
repeated request sends the same bytes and gets the same signature. The buyer's ``ClosingWorker``
repeats it, also after a crash. A provider that wants to close asks the buyer's node to begin. If
the cooperative closing fails, the agreement ends by notice and closing window (``service.end``).
"""
