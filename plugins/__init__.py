"""The plugins that come with ganbench, found through their entry points like anybody else's."""
