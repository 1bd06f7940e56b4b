"""The Helm chart: its files lie in ``lethe``; what can be generated of them is written by ``charts.reference``."""
