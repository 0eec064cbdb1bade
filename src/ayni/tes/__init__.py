"""The GA4GH Task Execution Service 1.1 contract: types, views, filters. Pure: no I/O, no Django."""
