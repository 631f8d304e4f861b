"""Libraries behind two small interfaces: graph indexes (`graph.py`) and stores (`stores.py`)."""
