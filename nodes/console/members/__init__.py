"""Members of the network and proposals to change the directory."""
