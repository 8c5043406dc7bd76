"""Pages of property deals (云链签): from the agent's draft to the registered title."""
