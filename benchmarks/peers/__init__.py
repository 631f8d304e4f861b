"""Other libraries, behind two interfaces: graph indexes (`graph.py`), stores (`stores.py`)."""
