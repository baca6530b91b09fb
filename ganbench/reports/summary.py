"""Summary"""
def render(records, view): return ""
