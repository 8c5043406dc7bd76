"""The call protocol: usage requests and receipts in lanes, at the gateway and at the buyer."""
