"""The report as one HTML page that needs nothing else: tables, pictures, curves, runs. Imports no torch."""
