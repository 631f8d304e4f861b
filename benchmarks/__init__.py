"""Benchmarks of srvdb against plain hardware rates and other libraries; see README.md."""
