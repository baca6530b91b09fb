"""From a request to finished runs; may import `scoring`, `results` and what is below them."""
