"""Staging: what an attempt needs is brought into its folder, and what it made is brought out.

Everything here meets hostile input: a path never leaves the attempt's folder, an address never
leads into the site's own network, and what a dataset holds back does not leave.
"""
